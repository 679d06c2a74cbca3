"""Joining a Ray, or starting one of our own."""

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
from space.utils.signals import handlers_kept, unheard

ANSWERS_IN = 5.0


@contextmanager
def connected(workers: Workers) -> Iterator[bool]:
    """The Ray that this process is connected to, or the one at the address, or one of our own.

    The first is used as it is, and left running. Gives whether it is our own, which ends with what
    it was started for.

    Raises:
        InputError: nothing answers at the address, it does not let us in, or this process is
            connected to another one.
    """
    # Looked at before anything is changed that a Ray which runs in this process has read.
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
            # Ray has handlers of its own, which end this process with a page of its state.
            with handlers_kept():
                _start(workers) if own else _join(str(address))
            try:
                yield own
            finally:
                # Ray's core tells the terminal what it could no longer send.
                with silent_stderr(), unheard():
                    if own:
                        _end_monitor()
                    ray.shutdown()
    finally:
        _read_authentication()


def _check_address(address: str | None) -> None:
    """Refuse an address other than that of the Ray which this process is connected to."""
    if address is None or address == "auto" or "://" in address:
        return
    there = ray.get_runtime_context().gcs_address
    if address != there:
        raise InputError(
            f"search.ray.address: {address}, but this process is connected to the Ray at {there}; "
            "leave the address out, or end that connection first by ray.shutdown()"
        )


def here() -> dict[str, Any]:
    """Options of what runs on this node and takes none of its cores."""
    return {"num_cpus": 0, **on(ray.get_runtime_context().get_node_id())}


def on(node: str) -> dict[str, Any]:
    """Options of what runs on a node, and on no other."""
    return {"scheduling_strategy": NodeAffinitySchedulingStrategy(node, soft=False)}


def with_places(workers: Workers, own: bool) -> tuple[Workers, float]:
    """The workers that are started, and the GPUs of each process.

    Args:
        workers: how many are wanted, and what each takes.
        own: whether Ray is our own, which no other node joins: none waits there for a place.

    Raises:
        InputError: no worker could ever have a place, or takes nothing at all.
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
    """Those of the workers for which there is enough of a resource on this machine."""
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


def places_on(node: Mapping[str, Any], workers: Workers, bundle: Mapping[str, float]) -> int:
    """How many workers a node has place for, were there nobody else."""
    has, labels = node.get("Resources", {}), node.get("Labels", {})
    wanted = workers.ray.placement.items()
    if not node["Alive"] or any(labels.get(name) != value for name, value in wanted):
        return 0
    # Thirds of a GPU do not add up exactly.
    return min(int(has.get(name, 0) / amount + 1e-6) for name, amount in bundle.items())


def room(workers: Workers, gpus: float, wanted: int) -> str:
    """How many of the workers have a place on the nodes that are there, in a line.

    Args:
        workers: that are started.
        gpus: of each process.
        wanted: how many were asked for.
    """
    nodes: Any = ray.nodes
    there = [places_on(node, workers, workers.bundle(gpus)) for node in nodes()]
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
    """A Ray on this machine, which listens on the loopback interface alone."""
    # Ray keeps what the environment said when it was imported; without it, it listens everywhere.
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
    except Exception as error:  # whatever Ray raises; a node that is slow to start, a plain one
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
    """What can be known to be wrong of a Ray before it is joined.

    Raises:
        InputError: nothing answers at its address, or it could not set up what is wanted.
    """
    if config.address is not None:
        _check_answers(config.address)
    _check_runtime_env(config)


def check_keys(config: RayConfig) -> None:
    """Refuse a `runtime_env` with keys that Ray does not have; it would go on without them.

    Raises:
        InputError: a key is unknown.
    """
    if not config.runtime_env:
        return
    make: Any = RuntimeEnv
    known = sorted(make.known_fields)
    for key in config.runtime_env:
        if key not in known:
            raise InputError(f"search.ray.runtime_env: unknown key {key!r}{near(key, known)}")


def _check_runtime_env(config: RayConfig) -> None:
    """Refuse what Ray cannot set up, such as a folder that is not on this machine."""
    check_keys(config)
    if not config.runtime_env:
        return
    make: Any = RuntimeEnv
    try:
        make(**config.runtime_env)
    except (TypeError, ValueError) as error:
        raise InputError(f"search.ray.runtime_env: {one_line(error)}") from None


def _check_answers(address: str) -> None:
    """Ray itself would try for minutes."""
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWERS_IN).close()
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"search.ray.address: nothing answers at {address}: {reason}") from None


def _end_monitor() -> None:
    """End the autoscaler's monitor, for which Ray's shutdown would wait a second."""
    node = getattr(ray._private.worker, "_global_node", None)
    if node is not None and hasattr(node, "kill_monitor"):
        node.kill_monitor(check_alive=False)


def _read_authentication() -> None:
    """Make Ray read mode and token anew: it keeps what it found when it was imported."""
    private: Any = raylet
    private.Config.initialize("")
    private.AuthenticationTokenLoader.instance().reset_cache()
