"""The bus only rings the doorbell. A lost ring costs one sweep, never a message."""
