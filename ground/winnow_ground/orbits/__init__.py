"""Where a satellite is, when a station sees it, when the Earth hides the Sun from it: published
elements, SGP4, passes, eclipses. Nothing here is downloaded."""
