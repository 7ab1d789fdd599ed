"""Web Push: message encryption and voluntary server identification."""
