"""SQLite through apsw: one writer thread, readers beside it."""
