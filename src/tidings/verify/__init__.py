"""Verifications: a code is sent over `accept`, and what comes back is checked against a keyed hash in the store."""
