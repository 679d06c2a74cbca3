"""What knows nothing of searches: numbers as text, tables, locks."""
