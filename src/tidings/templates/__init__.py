"""Liquid templates, bounded."""
