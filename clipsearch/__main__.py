"""`python -m clipsearch`."""

from .cli import main

main()
