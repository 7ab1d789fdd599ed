"""The nouns of messaging. No I/O."""
