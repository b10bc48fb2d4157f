"""The discrete-event driver of the same core."""
