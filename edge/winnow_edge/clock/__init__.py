"""Time on board: the mission clock, UTC and TAI, the time codes of CCSDS, the season on Mars."""
