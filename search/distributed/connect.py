"""Connecting to a Ray cluster, or starting a local Ray."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from search.distributed.environment import OWN, RAY, TUNE, environment, silent_stderr
from search.distributed.ray_api import (
    NodeAffinitySchedulingStrategy,
    RuntimeEnv,
    ray,
    ray_constants,
    raylet,
)
from search.utils.resources import RayConfig, Workers
from space.utils.errors import InputError, near, one_line
from space.utils.signals import defer_signals, restore_handlers

ANSWERS_IN = 5.0


@contextmanager
def connected(workers: Workers) -> Iterator[bool]:
    """Connect to the Ray cluster at the address, or start a local Ray, for the block.

    A connection that this process has already is used, and left open.

    Yields:
        Whether Ray was started here; it ends with the block.

    Raises:
        InputError: The cluster does not answer or refuses the connection, or this process is
            connected to another cluster.
    """
    # First: a Ray that is connected already has read the environment that is changed below.
    if ray.is_initialized():
        _check_address(workers.ray.address)
        _check_runtime_env(workers.ray)
        yield False
        return
    address = workers.ray.address
    own = address is None
    try:
        with environment(RAY | (TUNE | OWN if own else {})):
            _read_authentication()
            _check_runtime_env(workers.ray)
            # Ray's signal handlers would end this process and print a page of its state.
            with restore_handlers():
                _start(workers) if own else _join(str(address))
            try:
                yield own
            finally:
                # Ray's core writes to stderr what it could no longer send.
                with silent_stderr(), defer_signals(patient=True):
                    if own:
                        _end_monitor()
                    ray.shutdown()
    finally:
        _read_authentication()


def _check_address(address: str | None) -> None:
    """Refuse an address other than that of the cluster to which this process is connected."""
    if address is None or address == "auto" or "://" in address:
        return
    there = ray.get_runtime_context().gcs_address
    if address != there:
        raise InputError(
            f"search.ray.address: {address}, but this process is connected to the Ray at {there}; "
            "leave the address out, or end that connection first by ray.shutdown()"
        )


def here() -> dict[str, Any]:
    """Return the Ray options of a task or actor on this node that takes none of its cores."""
    return {"num_cpus": 0, **on(ray.get_runtime_context().get_node_id())}


def on(node: str) -> dict[str, Any]:
    """Return the Ray options of a task or actor that must run on a node."""
    return {"scheduling_strategy": NodeAffinitySchedulingStrategy(node, soft=False)}


def fit_workers(workers: Workers, own: bool) -> tuple[Workers, float]:
    """Return the workers to start, and the GPUs of each process.

    Args:
        workers: The wanted workers.
        own: Whether Ray was started here. No node joins it later, so workers that do not fit are
            not started.

    Raises:
        InputError: No worker could ever be placed, or workers would take no resource.
    """
    resources: Any = ray.cluster_resources
    there: Mapping[str, float] = resources()
    if own:
        workers = _fewer(workers, "CPU", workers.cpus, there)
    gpus = workers.share(there.get("GPU", 0.0))
    if own:
        workers = _fewer(workers, "GPU", gpus, there)
    if not workers.bundle(gpus):
        raise InputError(
            f"{workers.section}.cpus_per_worker: must be over 0 where workers take no GPU"
        )
    return workers, gpus


def _fewer(workers: Workers, name: str, amount: float, there: Mapping[str, float]) -> Workers:
    """Limit the number of workers to those that fit into a resource of this machine."""
    if not amount:
        return workers
    has = there.get(name, 0.0)
    # Thirds of a GPU do not add up exactly.
    count = int(has / (amount * workers.processes) + 1e-6)
    if not count:
        together = f" of {workers.processes} processes" if workers.processes > 1 else ""
        raise InputError(
            f"{workers.section}.{name.lower()}s_per_worker: {amount:g} for each{together}, but "
            f"this machine has {has:g}"
        )
    return replace(workers, count=min(workers.count, count))


def count_fitting_workers(
    node: Mapping[str, Any], workers: Workers, bundle: Mapping[str, float]
) -> int:
    """Return how many workers fit on a node that runs nothing else."""
    has, labels = node.get("Resources", {}), node.get("Labels", {})
    wanted = workers.ray.placement.items()
    if not node["Alive"] or any(labels.get(name) != value for name, value in wanted):
        return 0
    # Thirds of a GPU do not add up exactly.
    return min(int(has.get(name, 0) / amount + 1e-6) for name, amount in bundle.items())


def describe_placement(workers: Workers, gpus: float, wanted: int) -> str:
    """Describe in a line how many workers fit on the nodes of the cluster.

    Args:
        workers: The workers that are started.
        gpus: GPUs of each process.
        wanted: Number of workers that were asked for.
    """
    nodes: Any = ray.nodes
    there = [count_fitting_workers(node, workers, workers.bundle(gpus)) for node in nodes()]
    placed = min(sum(there) // workers.processes, workers.count)
    times = f"{workers.processes} times " if workers.processes > 1 else ""
    rest = ""
    if placed < workers.count:
        rest = "; the others wait for one"
    elif placed < wanted:
        rest = "; this machine has none for the others, which are not started"
    return (
        f"{placed} of {wanted} workers have a place now "
        f"(nodes that have one: {sum(map(bool, there))}); each takes {times}{workers.cpus:g} CPU "
        f"and {gpus:g} GPU{rest}"
    )


def _start(workers: Workers) -> None:
    """Start Ray on this machine, listening on the loopback interface alone."""
    # Ray read this flag when it was imported; where it is true, Ray listens on all interfaces.
    clusters, ray_constants.ENABLE_RAY_CLUSTER = ray_constants.ENABLE_RAY_CLUSTER, False
    processes = workers.count * workers.processes
    custom = {name: amount * processes for name, amount in workers.ray.resources.items()}
    try:
        ray.init(
            address="local",
            resources=custom or None,
            labels=workers.ray.placement or None,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.CRITICAL,
        )
    except Exception as error:  # Ray raises many types; for a slow start a plain Exception
        with silent_stderr():
            ray.shutdown()
        reason = one_line(error)
        raise InputError(f"{workers.section}.workers: Ray cannot be started: {reason}") from None
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = clusters


def _join(address: str) -> None:
    _check_answers(address)
    try:
        with silent_stderr():
            ray.init(address=address, log_to_driver=False, logging_level=logging.CRITICAL)
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        with silent_stderr():
            ray.shutdown()
        reason = one_line(error)
        raise InputError(
            f"search.ray.address: no Ray cluster can be joined at {address}: {reason}; this "
            "machine must be one of its nodes (ray start --address HOST:PORT), and have its token, "
            "where it asks for one (RAY_AUTH_MODE=token, RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH)"
        ) from None


def check_ray(config: RayConfig) -> None:
    """Check what can be checked of a Ray config without joining the cluster.

    Raises:
        InputError: Nothing answers at the address, or Ray cannot set up the `runtime_env`.
    """
    if config.address is not None:
        _check_answers(config.address)
    _check_runtime_env(config)


def check_keys(config: RayConfig) -> None:
    """Refuse keys of `runtime_env` that Ray does not know and would ignore.

    Raises:
        InputError: A key is unknown.
    """
    if not config.runtime_env:
        return
    make: Any = RuntimeEnv
    known = sorted(make.known_fields)
    for key in config.runtime_env:
        if key not in known:
            raise InputError(f"search.ray.runtime_env: unknown key {key!r}{near(key, known)}")


def _check_runtime_env(config: RayConfig) -> None:
    """Refuse a `runtime_env` that Ray cannot set up, such as one with a missing folder."""
    check_keys(config)
    if not config.runtime_env:
        return
    make: Any = RuntimeEnv
    try:
        make(**config.runtime_env)
    except (TypeError, ValueError) as error:
        raise InputError(f"search.ray.runtime_env: {one_line(error)}") from None


def _check_answers(address: str) -> None:
    """Refuse an address at which nothing listens; Ray would try for minutes."""
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWERS_IN).close()
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"search.ray.address: nothing answers at {address}: {reason}") from None


def _end_monitor() -> None:
    """Kill the autoscaler's monitor, for which Ray's shutdown would wait a second."""
    node = getattr(ray._private.worker, "_global_node", None)
    if node is not None and hasattr(node, "kill_monitor"):
        node.kill_monitor(check_alive=False)


def _read_authentication() -> None:
    """Make Ray read its authentication mode and token again; it cached them when imported."""
    private: Any = raylet
    private.Config.initialize("")
    private.AuthenticationTokenLoader.instance().reset_cache()
