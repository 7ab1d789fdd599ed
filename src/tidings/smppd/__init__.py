"""The SMPP server for customers: an existing SMPP application moves over by changing host and port."""
