"""Ray, imported with its environment set; the only imports of Ray's private modules."""

from __future__ import annotations

from search.distributed.environment import RAY, environment

# Ray reads these variables when it is imported.
with environment(RAY):
    import ray
    from ray import _raylet as raylet
    from ray._private import ray_constants
    from ray.runtime_env import RuntimeEnv
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

__all__ = ["NodeAffinitySchedulingStrategy", "RuntimeEnv", "ray", "ray_constants", "raylet"]
