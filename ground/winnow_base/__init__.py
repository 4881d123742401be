"""The bottom of the ground half: what training, conversion and the ground share.

Errors, files, the console, progress, and the figures that judge a net. It imports `winnow_edge` and
no other package of the ground.
"""
