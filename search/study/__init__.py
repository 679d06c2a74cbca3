"""Which arch is evaluated next, and what is kept of those that were."""
