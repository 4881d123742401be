"""The commands of `winnow-edge`, one file each."""
