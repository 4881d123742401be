"""The board itself: what it is, whether it is fit to fly, how fast it is; its service manager."""
