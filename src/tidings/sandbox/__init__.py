"""Carrier simulators on loopback, one file per channel, and what a person with a handset does."""
