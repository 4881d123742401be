"""The board and the service that run the loop."""
