"""Where and when the lines of a swath were seen: told beside the swath, checked at one door."""
