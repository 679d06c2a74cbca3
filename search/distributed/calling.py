"""Calls to other processes through Ray, with errors in one line."""

from __future__ import annotations

from typing import Any

from search.distributed.ray_api import ray
from search.problem.evaluation import describe
from space.utils.errors import InputError, one_line


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
    return describe(cause) if isinstance(cause, Exception) else one_line(error)
