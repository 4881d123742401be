"""Products: what they are, as bytes, and in which order they are worth sending."""
