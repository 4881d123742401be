"""The top of the ground half: the `winnow` command, which alone knows every package."""
