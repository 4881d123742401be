"""The product store: everything that speaks SQL."""
