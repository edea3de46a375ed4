"""`python -m feltwire`."""

from feltwire.cli import main

main()
