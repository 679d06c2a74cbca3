"""Evaluators, which give the metrics of archs."""
