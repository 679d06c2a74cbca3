"""Searches and retraining in parallel processes, on one machine or a cluster, through Ray."""
