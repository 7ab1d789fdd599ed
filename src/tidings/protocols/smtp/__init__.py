"""What is said between mail systems: commands, replies, status codes."""
