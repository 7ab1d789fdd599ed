"""A carrier over HTTP that is described by configuration, not programmed: of any channel."""
