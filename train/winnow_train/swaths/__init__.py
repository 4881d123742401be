"""Judging a bundle on whole swaths: flown by the loop that flies, laid over what is known."""
