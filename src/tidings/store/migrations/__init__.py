"""Schema steps, one SQL file each."""
