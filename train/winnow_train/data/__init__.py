"""Data for everybody: fetching the public sets, cutting swaths into tiles, checking a set."""
