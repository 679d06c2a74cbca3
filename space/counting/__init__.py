"""Counting and sampling of archs: the space as a layered graph, cost bands, exact sums."""
