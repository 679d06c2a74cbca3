"""What runs on Ray: the only package that imports it."""

from search.environment import RAY, environment

# Ray keeps what the environment says when it is imported.
with environment(RAY):
    import ray  # noqa: F401
