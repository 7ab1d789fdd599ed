"""`tidings demo`."""
