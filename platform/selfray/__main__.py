"""`python -m selfray` is `selfray`."""

from .cli import main

main()
