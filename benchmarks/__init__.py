"""What eqlbond costs and what it reaches, measured. Run one with `python -m benchmarks.NAME`."""
