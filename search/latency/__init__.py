"""Latency: measured on extracted subnets, predicted as a sum over blocks. Independent of Ray."""
