"""Whether a message may leave now."""
