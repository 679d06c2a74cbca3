"""`python -m search` is the command `tokennas`: torchrun starts modules."""

from search.cli import command

command()
