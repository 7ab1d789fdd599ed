"""Writing and reading mails and their reports."""
