"""Ray, imported with its environment set; calls whose errors are one line."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from search.problem.evaluation import describe_exception
from space.utils.errors import InputError, one_line

# For every process that imports Ray.
RAY = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # Ray prints half a page for each dead worker; `Leases` counts them.
    "RAY_DEDUP_LOGS_SKIP_REGEX": "A worker died or was killed|There are infinite retries",
}
# For Ray Tune and its trials.
TUNE = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    # Relative paths of evaluators are those of the user's working directory.
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
}
# For a local Ray: it listens on the loopback interface alone. Its token is written nowhere; Ray
# would write one into the home folder.
OWN = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": secrets.token_hex(32),
}


@contextmanager
def environment(wanted: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables within the block, where they are not set already."""
    added = {name: value for name, value in wanted.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


with environment(RAY):
    import ray as _ray

# Untyped: Ray's annotations fit neither options of remote functions nor lists of nodes.
ray: Any = _ray


@contextmanager
def silent_stderr() -> Iterator[None]:
    """Discard what Python and C++ code write to stderr within the block."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def put(value: Any) -> Any:
    """Put a value into Ray's object store.

    Raises:
        InputError: The value cannot be pickled.
    """
    try:
        return ray.put(value)
    except Exception as error:
        # The error may be of any type. Ray's message is a page; the pickler's, its cause, a line.
        cause = error.__cause__ or error
        raise InputError(f"what evaluates cannot be sent to workers: {cause}") from None


def ask(method: Any) -> Any:
    """Call a method of an actor and return its result.

    Raises:
        InputError: The method raised it, or the actor cannot be started or reached.
    """
    try:
        return ray.get(method.remote())
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, InputError):
            raise error.cause from None
        raise
    except ray.exceptions.RayError as error:
        raise InputError(f"Ray cannot start or reach the study: {one_line(error)}") from None


def cause_of(error: BaseException) -> str:
    """Return one line on the error of a task or an actor, or on how Ray lost it."""
    cause = getattr(error, "cause", None)
    return describe_exception(cause) if isinstance(cause, Exception) else one_line(error)
