"""Lines made fit for a net: repaired, or a frame resized whole; 16 bits stretched to 8."""
