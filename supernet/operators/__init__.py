"""Weights and forward passes of the operators, one file each."""
