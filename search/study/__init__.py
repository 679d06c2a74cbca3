"""The study: which arch is evaluated next, and the storage of finished evaluations."""
