"""What is measured, and how: `make bench`. Each module has `measure(**options) -> dict`; results are committed."""
