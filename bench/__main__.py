"""`python -m bench VERB`."""

from .cli import main

main()
