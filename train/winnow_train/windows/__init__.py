"""Windows cut from whole pictures: what a net is shown in flight, beside the landmark tiles."""
