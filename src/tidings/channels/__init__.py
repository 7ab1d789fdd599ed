"""Channels: one folder each, one file per provider."""
