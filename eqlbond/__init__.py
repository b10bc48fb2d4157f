"""eqlbond: serial lines bonded into one link."""
