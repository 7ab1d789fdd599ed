"""Which carrier a message goes to."""
