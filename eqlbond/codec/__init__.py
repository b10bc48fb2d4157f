"""Bytes to values and back: framings, headers. No clock."""
