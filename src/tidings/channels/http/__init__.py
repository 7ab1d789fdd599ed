"""What every provider over HTTP is built on."""
