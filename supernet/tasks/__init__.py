"""What networks are trained and judged for: one file a task."""
