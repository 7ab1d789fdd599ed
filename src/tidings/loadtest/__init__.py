"""The load generator: an open loop of messages, an account of each of them, and a report that says what held."""
