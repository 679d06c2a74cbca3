"""Searches and retraining on many processes and machines, through Ray."""
