"""One turn of the loop: labels of what came down join the old tiles, and a better net flies."""
