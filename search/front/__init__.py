"""The non-dominated subnets that a search found, their file, and how far they are apart."""
