"""`python -m feltwire.cli`."""

from feltwire.cli import main

main()
