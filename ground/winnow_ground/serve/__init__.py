"""`winnow serve`: a catalogue in the browser, offline, on this machine."""
