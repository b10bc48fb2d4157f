"""eqlbond: serial lines bonded into one link."""

__version__ = "0.1.0"
