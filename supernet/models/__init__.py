"""Models that run archs: the elastic model, the supernet, subnets."""
