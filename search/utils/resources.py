"""The resources of parallel workers, and their Ray cluster. Does not import Ray."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from space.utils.errors import InputError, is_integer, shown


@dataclass(frozen=True)
class RayConfig:
    """The Ray cluster that workers run on, and their requirements.

    Args:
        address: Address of the cluster: `auto` for that of this node, or `HOST:PORT` of its head;
            null to start a local Ray.
        storage_path: Folder for Ray Tune's own files; by default a temporary one.
        runtime_env: Ray's runtime environment of the workers, such as `env_vars`.
        resources: Custom resources of each worker.
        placement: Labels of the nodes that workers may run on, such as
            `{ray.io/accelerator-type: H100}`.
    """

    address: str | None = None
    storage_path: str | None = None
    runtime_env: dict[str, Any] = field(default_factory=dict)
    resources: dict[str, float] = field(default_factory=dict)
    placement: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        host, _, port = (self.address or "").rpartition(":")
        valid = host and "/" not in host and port.isdigit() and 0 < int(port) < 65536
        if self.address not in (None, "auto") and not valid:
            raise InputError(
                "search.ray.address: must be `auto` or HOST:PORT of a cluster that this machine is "
                f"a node of, got {shown(self.address)}; elsewhere, submit the command by "
                "`ray job submit`"
            )
        for name, amount in self.resources.items():
            if name.lower() in ("cpu", "gpu", "memory"):
                raise InputError(
                    f"search.ray.resources: {name} is not a custom resource; set cpus_per_worker "
                    "or gpus_per_worker"
                )
            if not 0 < amount < math.inf:
                raise InputError(f"search.ray.resources.{name}: must be over 0, got {amount}")


@dataclass(frozen=True)
class Workers:
    """The workers of a search or of retraining.

    Args:
        count: Maximum number of workers. On a cluster, workers that do not fit wait for nodes; on a
            local Ray they are not started.
        cpus: Cores of each process.
        gpus: GPUs of each process: a whole number, or 1/k, without isolated memory. None to share
            the cluster's GPUs evenly.
        ray: The Ray cluster.
        prefix: Prefix of the option names in errors, such as `search.`.
        processes: Number of data-parallel processes of each worker.
    """

    count: int
    cpus: float = 1.0
    gpus: float | None = None
    ray: RayConfig = field(default_factory=RayConfig)
    prefix: str = ""
    processes: int = 1

    def __post_init__(self) -> None:
        # The option may be 0, for this process; there are no `Workers` then.
        if not is_integer(self.count) or self.count < 1:
            raise InputError(
                f"{self.prefix}workers: must be an integer of at least 0, got {shown(self.count)}"
            )
        if not 0 <= self.cpus < math.inf:
            raise InputError(f"{self.prefix}cpus_per_worker: must be at least 0, got {self.cpus}")
        gpus = self.gpus or 0.0
        number = 1 / gpus if 0 < gpus < 1 else gpus
        if not 0 <= number < math.inf or not math.isclose(number, round(number), rel_tol=1e-3):
            raise InputError(
                f"{self.prefix}gpus_per_worker: must be 1/k such as 0.5 or 0.25, or a whole "
                f"number, got {self.gpus}"
            )
        if self.processes > 1 and 0 < gpus < 1:
            raise InputError(
                f"{self.prefix}gpus_per_worker: must be at least 1 with {self.processes} "
                f"processes, which cannot share a GPU, got {self.gpus}"
            )

    def gpus_per_process(self, available: float) -> float:
        """Return the GPUs of each process, by default 1/k so that all workers fit.

        Processes that train together cannot share a GPU (NCCL).

        Args:
            available: Number of GPUs of the cluster.
        """
        if self.gpus is not None:
            return self.gpus
        if available < 1:
            return 0.0
        if self.processes > 1:
            return 1.0
        return 1 / max(1, math.ceil(self.count / available))

    def bundle(self) -> dict[str, float]:
        """Return the resources of each process by Ray's names, without GPUs if `gpus` is None."""
        resources = {"CPU": float(self.cpus), "GPU": self.gpus or 0.0, **self.ray.resources}
        return {name: amount for name, amount in resources.items() if amount}
