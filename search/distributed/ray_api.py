"""Imports Ray with its environment variables set; converts its errors to one line."""

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
RAY_ENV = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # Ray prints half a page for each dead worker; `Leases` counts deaths.
    "RAY_DEDUP_LOGS_SKIP_REGEX": "A worker died or was killed|There are infinite retries",
}
# For Ray Tune and its trials, which are our workers.
TUNE_ENV = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    # Evaluators resolve relative paths in the user's working directory.
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
}
# For a local Ray, which listens on the loopback interface alone. Its token stays in memory; Ray
# would write one into the home folder.
LOCAL_ENV = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": secrets.token_hex(32),
}


@contextmanager
def set_env(variables: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables inside the context, unless they are set already."""
    added = {name: value for name, value in variables.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


with set_env(RAY_ENV):
    import ray as _ray

# Untyped: Ray's annotations allow neither options of remote functions nor lists of nodes.
ray: Any = _ray


@contextmanager
def silence_stderr() -> Iterator[None]:
    """Discard stderr of Python and C++ code inside the context."""
    sys.stderr.flush()
    stderr, devnull = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(devnull, 2)
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(devnull)


def put_evaluator(make_evaluate: Any) -> Any:
    """Put an evaluator's factory into Ray's object store.

    Raises:
        InputError: It cannot be pickled.
    """
    try:
        return ray.put(make_evaluate)
    except Exception as error:
        # Of any type. Ray's message fills a page; that of its cause, the pickler's, fits in a line.
        cause = error.__cause__ or error
        raise InputError(f"the evaluator cannot be sent to workers: {cause}") from None


def call_study(method: Any) -> Any:
    """Call a method of the study's actor and return its result.

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


def describe_cause(error: BaseException) -> str:
    """Describe in one line the error of a task or an actor, or why Ray lost its process."""
    cause = getattr(error, "cause", None)
    return describe_exception(cause) if isinstance(cause, Exception) else one_line(error)
