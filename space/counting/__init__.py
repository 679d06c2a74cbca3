"""Counting and drawing archs: the space as a layered graph, bands of a cost, exact sums."""
