"""The study: proposals of archs to evaluate, and the storage of finished evaluations."""
