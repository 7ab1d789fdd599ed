"""The delivery path: accept, pipeline, settle, receive."""
