"""`python -m winnow_ground`: versions of what is installed, and which extras are not."""

from winnow_ground.versions import describe

print("\n".join(describe()))
