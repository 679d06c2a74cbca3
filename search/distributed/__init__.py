"""A search on many processes and machines, through Ray."""
