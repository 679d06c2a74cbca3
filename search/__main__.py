"""`python -m search` is the command `tokennas`: torchrun starts modules."""

from search.cli.main import command

command()
