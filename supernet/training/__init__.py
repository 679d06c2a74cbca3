"""Training of the supernet and retraining of subnets."""
