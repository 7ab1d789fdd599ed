"""Email: its providers, and the listener for what comes back."""
