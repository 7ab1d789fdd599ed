"""What knows nothing of messaging: clock, ids, limits, secrets, log, outbound HTTP."""
