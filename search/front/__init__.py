"""The front: the non-dominated subnets of a search, their file, and the gaps between them."""
