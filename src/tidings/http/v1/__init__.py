"""The routes under `/v1`, one file per resource; each file gives a Litestar `router`."""
