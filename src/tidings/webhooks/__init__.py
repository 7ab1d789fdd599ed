"""Webhooks out: signed, retried, a queue for each endpoint."""
