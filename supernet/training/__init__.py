"""How weights are trained: the supernet, and subnets that are retrained."""
