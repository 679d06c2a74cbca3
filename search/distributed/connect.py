"""Connecting to a Ray cluster, or starting a local Ray."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from search.distributed.ray_api import OWN, RAY, TUNE, environment, ray, silent_stderr
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
        InputError: See `check_ray`; or the cluster refuses the connection, or this process is
            connected to another one.
    """
    address, own = workers.ray.address, workers.ray.address is None
    check_ray(workers.ray)
    # Before anything is changed: a Ray that is connected has read its environment already.
    if ray.is_initialized():
        there = ray.get_runtime_context().gcs_address
        if address not in (None, "auto", there):
            raise InputError(
                f"search.ray.address: {address}, but this process is connected to the Ray at "
                f"{there}; leave the address out, or end that connection first by ray.shutdown()"
            )
        yield False
        return
    try:
        with environment(RAY | (TUNE | OWN if own else {})):
            _read_authentication()
            # Ray's signal handlers would end this process and print a page of its state.
            with restore_handlers():
                _start(workers) if own else _join(str(address))
            try:
                yield own
            finally:
                # Ray's core writes to stderr what it could no longer send.
                with silent_stderr(), defer_signals(patient=True):
                    ray.shutdown()
    finally:
        _read_authentication()


def here() -> dict[str, Any]:
    """Return the Ray options of a task or actor on this node that takes none of its cores."""
    return {"num_cpus": 0, **on(ray.get_runtime_context().get_node_id())}


def on(node: str) -> dict[str, Any]:
    """Return the Ray options of a task or actor that must run on a node."""
    affinity = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
    return {"scheduling_strategy": affinity(node, soft=False)}


def fit_workers(workers: Workers, own: bool) -> Workers:
    """Return the workers to start, with the GPUs of each process.

    Args:
        workers: The wanted workers.
        own: Whether Ray was started here. No node joins it later, so workers that do not fit are
            not started.

    Raises:
        InputError: No worker could ever be placed, or workers would take no resource.
    """
    there: Mapping[str, float] = ray.cluster_resources()
    # By the cores first: GPUs are shared by as many workers as have cores.
    workers = _limit_count(workers, there) if own else workers
    workers = replace(workers, gpus=workers.share(there.get("GPU", 0.0)))
    if not workers.bundle():
        raise InputError(
            f"{workers.section}.cpus_per_worker: must be over 0 where workers take no GPU"
        )
    return _limit_count(workers, there) if own else workers


def _limit_count(workers: Workers, there: Mapping[str, float]) -> Workers:
    """Limit the number of workers to those that fit into the resources of this machine."""
    for name, amount in workers.bundle().items():
        has, wanted = there.get(name, 0.0), amount * workers.processes
        count = _count(has, wanted)
        if not count:
            raise InputError(
                f"{workers.section}.{name.lower()}s_per_worker: {wanted:g} for each worker, but "
                f"this machine has {has:g}"
            )
        workers = replace(workers, count=min(workers.count, count))
    return workers


def _count(has: float, amount: float) -> int:
    """Return how often an amount of a resource is there; thirds of a GPU do not add up exactly."""
    return int(has / amount + 1e-6)


def count_fitting_workers(node: Mapping[str, Any], workers: Workers) -> int:
    """Return how many processes of workers fit on a node that runs nothing else."""
    has, labels = node.get("Resources", {}), node.get("Labels", {})
    wanted = workers.ray.placement.items()
    if not node["Alive"] or any(labels.get(name) != value for name, value in wanted):
        return 0
    return min(_count(has.get(name, 0), amount) for name, amount in workers.bundle().items())


def describe_placement(workers: Workers, wanted: int) -> str:
    """Describe in a line how many workers fit on the nodes of the cluster.

    Args:
        workers: The workers that are started.
        wanted: Number of workers that were asked for.
    """
    places = sum(count_fitting_workers(node, workers) for node in ray.nodes())
    placed = min(places // workers.processes, workers.count)
    rest = ""
    if placed < workers.count:
        rest = "; the others wait for one"
    elif placed < wanted:
        rest = "; this machine has none for the others, which are not started"
    return (
        f"{placed} of {wanted} workers have a place now; each process takes {workers.cpus:g} CPU "
        f"and {workers.gpus:g} GPU{rest}"
    )


def _start(workers: Workers) -> None:
    """Start Ray on this machine, listening on the loopback interface alone."""
    constants, processes = ray._private.ray_constants, workers.count * workers.processes
    # Ray read this flag when it was imported; where it is true, Ray listens on all interfaces.
    clusters, constants.ENABLE_RAY_CLUSTER = constants.ENABLE_RAY_CLUSTER, False
    try:
        _init(
            f"{workers.section}.workers: Ray cannot be started",
            address="local",
            resources={name: n * processes for name, n in workers.ray.resources.items()},
            labels=workers.ray.placement,
            include_dashboard=False,
        )
    finally:
        constants.ENABLE_RAY_CLUSTER = clusters


def _join(address: str) -> None:
    """Join the cluster at an address."""
    try:
        _init(f"search.ray.address: no Ray cluster can be joined at {address}", address=address)
    except InputError as error:
        raise InputError(
            f"{error}; this machine must be one of its nodes (ray start --address HOST:PORT), and "
            "have its token, where it asks for one (RAY_AUTH_MODE=token, RAY_AUTH_TOKEN or "
            "RAY_AUTH_TOKEN_PATH)"
        ) from None


def _init(message: str, **options: Any) -> None:
    """Call `ray.init` without its log; the error begins with a message."""
    with silent_stderr():
        try:
            ray.init(**options, log_to_driver=False, logging_level=logging.CRITICAL)
        except Exception as error:  # Ray raises many types; for a slow start a plain Exception
            ray.shutdown()
            raise InputError(f"{message}: {one_line(error)}") from None


def check_ray(config: RayConfig) -> None:
    """Check what can be checked of a Ray config without joining the cluster.

    Raises:
        InputError: `runtime_env` has a key that Ray would ignore, or a value that it cannot set up,
            such as a missing folder; or nothing answers at the address, where Ray would try for
            minutes.
    """
    known = sorted(ray.runtime_env.RuntimeEnv.known_fields)
    for key in config.runtime_env:
        if key not in known:
            raise InputError(f"search.ray.runtime_env: unknown key {key!r}{near(key, known)}")
    try:
        ray.runtime_env.RuntimeEnv(**config.runtime_env)
    except (TypeError, ValueError) as error:
        raise InputError(f"search.ray.runtime_env: {one_line(error)}") from None
    if config.address in (None, "auto"):
        return
    host, _, port = str(config.address).rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWERS_IN).close()
    except (OSError, UnicodeError) as error:
        raise InputError(
            f"search.ray.address: nothing answers at {config.address}: {one_line(error)}"
        ) from None


def _read_authentication() -> None:
    """Make Ray read its authentication mode and token again; it cached them when imported."""
    ray._raylet.Config.initialize("")
    ray._raylet.AuthenticationTokenLoader.instance().reset_cache()
