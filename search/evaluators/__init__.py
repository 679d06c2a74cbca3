"""What gives the metrics of an arch."""
