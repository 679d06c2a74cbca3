"""Connects to a Ray cluster, or starts a local Ray; counts the workers that fit on its nodes."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from search.distributed.ray_api import LOCAL_ENV, RAY_ENV, TUNE_ENV, ray, set_env, silence_stderr
from search.utils.resources import RayConfig, Workers
from space.utils.errors import InputError, near, one_line
from space.utils.signals import defer_signals, restore_handlers

CONNECT_SECONDS = 5.0


@contextmanager
def connected(workers: Workers) -> Iterator[bool]:
    """Connect to the Ray cluster at the address, or start a local Ray, inside the context.

    An existing connection of this process is used, and left open.

    Yields:
        Whether this command has started the Ray; it ends with the context.

    Raises:
        InputError: See `check_ray`; or the cluster refuses the connection, or this process is
            connected to another cluster.
    """
    address, own_ray = workers.ray.address, workers.ray.address is None
    check_ray(workers.ray)
    # Before the environment is set, which a connected Ray has read already.
    if ray.is_initialized():
        connected_to = ray.get_runtime_context().gcs_address
        if address not in (None, "auto", connected_to):
            raise InputError(
                f"search.ray.address: must be {connected_to}, to which this process is connected, "
                f"got {address}; leave the address out, or call ray.shutdown() first"
            )
        yield False
        return
    try:
        with set_env(RAY_ENV | (TUNE_ENV | LOCAL_ENV if own_ray else {})):
            _read_authentication()
            # Ray's signal handlers would end this process and print a page of its state.
            with restore_handlers():
                _start(workers) if own_ray else _join(str(address))
            try:
                yield own_ray
            finally:
                # Ray's core prints messages that it could no longer send.
                with silence_stderr(), defer_signals(patient=True):
                    ray.shutdown()
    finally:
        _read_authentication()


def pin_to_this_node() -> dict[str, Any]:
    """Return the Ray options of a task or actor that runs on this node and takes no cores."""
    return pin_to_node(ray.get_runtime_context().get_node_id())


def pin_to_node(node: str) -> dict[str, Any]:
    """Return the Ray options of a task or actor that runs on a node and takes no cores."""
    affinity = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
    return {"num_cpus": 0, "scheduling_strategy": affinity(node, soft=False)}


def fit_workers(workers: Workers, own_ray: bool) -> Workers:
    """Return the workers to start, with the GPUs of each process.

    Args:
        workers: The requested workers.
        own_ray: Whether this command has started the Ray. No node joins it, so workers that do not
            fit are not started.

    Raises:
        InputError: Not one worker fits on this machine, or workers request no resource at all.
    """
    available: Mapping[str, float] = ray.cluster_resources()
    # By cores first: only workers that have cores share the GPUs.
    workers = _limit_count(workers, available) if own_ray else workers
    workers = replace(workers, gpus=workers.gpus_per_process(available.get("GPU", 0.0)))
    if not workers.bundle():
        raise InputError(
            f"{workers.prefix}cpus_per_worker: must be over 0 where workers take no GPU"
        )
    return _limit_count(workers, available) if own_ray else workers


def _limit_count(workers: Workers, available: Mapping[str, float]) -> Workers:
    """Limit the number of workers to those that fit on this machine."""
    for name, amount in workers.bundle().items():
        total, required = available.get(name, 0.0), amount * workers.processes
        count = _count_fitting(total, required)
        if not count:
            together = f"{workers.processes} processes, {required:g} in all"
            each = "worker" if workers.processes == 1 else f"of {together}"
            raise InputError(
                f"{workers.prefix}{name.lower()}s_per_worker: {amount:g} for each {each}, but this "
                f"machine has {total:g}"
            )
        workers = replace(workers, count=min(workers.count, count))
    return workers


def _count_fitting(total: float, amount: float) -> int:
    """Return how many times an amount fits; thirds of a GPU do not add up exactly."""
    return int(total / amount + 1e-6)


def count_fitting_processes(node: Mapping[str, Any], workers: Workers) -> int:
    """Return the number of worker processes that fit on a node that runs nothing else."""
    resources, labels = node.get("Resources", {}), node.get("Labels", {})
    placement = workers.ray.placement.items()
    if not node["Alive"] or any(labels.get(name) != value for name, value in placement):
        return 0
    return min(_count_fitting(resources.get(name, 0), n) for name, n in workers.bundle().items())


def describe_placement(workers: Workers, requested: int) -> str:
    """Describe in a line how many workers fit on the nodes of the cluster.

    Args:
        workers: The workers to start.
        requested: Number of workers that the config requests.
    """
    processes = sum(count_fitting_processes(node, workers) for node in ray.nodes())
    fitting = min(processes // workers.processes, workers.count)
    fate = "wait for nodes" if fitting < workers.count else "are not started"
    rest = f"; the others {fate}" if fitting < requested else ""
    return (
        f"{fitting} of {requested} workers fit on the cluster's nodes; each process takes "
        f"{workers.cpus:g} CPU and {workers.gpus:g} GPU{rest}"
    )


def _start(workers: Workers) -> None:
    """Start Ray on this machine, listening on the loopback interface alone."""
    constants, processes = ray._private.ray_constants, workers.count * workers.processes
    # Ray read this flag when it was imported; if it is true, Ray listens on all interfaces.
    clusters, constants.ENABLE_RAY_CLUSTER = constants.ENABLE_RAY_CLUSTER, False
    try:
        _init(
            f"{workers.prefix}workers: Ray cannot be started",
            address="local",
            resources={name: n * processes for name, n in workers.ray.resources.items()},
            labels=workers.ray.placement,
            include_dashboard=False,
        )
    finally:
        constants.ENABLE_RAY_CLUSTER = clusters


def _join(address: str) -> None:
    """Join the cluster at an address."""
    _init(
        f"search.ray.address: no Ray cluster can be joined at {address}",
        "; this machine must be one of its nodes (ray start --address HOST:PORT), and have its "
        "token, if it requires one (RAY_AUTH_MODE=token, RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH)",
        address=address,
    )


def _init(message: str, hint: str = "", **options: Any) -> None:
    """Call `ray.init` without its log; an error begins with `message` and ends with `hint`."""
    with silence_stderr():
        try:
            ray.init(**options, log_to_driver=False, logging_level=logging.CRITICAL)
        except Exception as error:  # of many types; a plain Exception for a slow start
            ray.shutdown()
            raise InputError(f"{message}: {one_line(error)}{hint}") from None


def check_ray(config: RayConfig) -> None:
    """Check a Ray config without joining the cluster.

    Raises:
        InputError: `runtime_env` has a key that Ray would ignore, or an invalid value such as a
            missing folder; or no server listens at the address, where Ray would retry for minutes.
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
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS).close()
    except (OSError, UnicodeError) as error:
        raise InputError(
            f"search.ray.address: no server answers at {config.address}: {one_line(error)}"
        ) from None


def _read_authentication() -> None:
    """Make Ray read its authentication mode and token again; it caches them on import."""
    ray._raylet.Config.initialize("")
    ray._raylet.AuthenticationTokenLoader.instance().reset_cache()
