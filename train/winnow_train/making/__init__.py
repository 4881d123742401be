"""`winnow new data` and `new recipe`: from a user's own pictures to a set that trains."""
