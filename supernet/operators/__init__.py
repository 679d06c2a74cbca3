"""The operators: weights and forward passes, one file per operator."""
