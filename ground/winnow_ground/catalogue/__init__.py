"""The catalogue: everything that came down, and what was classified on the ground, in one file."""
