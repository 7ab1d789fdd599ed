"""The public HTTP API: authentication, requests, problems, pages, the routes under `/v1`, and the API reference."""
