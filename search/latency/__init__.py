"""Latency: measured on extracted subnets, predicted as a sum over blocks. No Ray in here."""
