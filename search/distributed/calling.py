"""What is sent to other processes, and what they answer."""

from __future__ import annotations

from typing import Any

from search.distributed.ray_api import ray
from search.problem.evaluation import describe
from space.utils.errors import InputError, one_line


def put(value: Any) -> Any:
    """Send a value to Ray's object store, once for all nodes.

    Raises:
        InputError: it cannot be pickled.
    """
    try:
        return ray.put(value)
    except Exception as error:
        # Of whatever kind the part is that cannot be pickled. Ray's own message is a page; that of
        # the pickler, which it comes from, a line.
        cause = error.__cause__ or error
        raise InputError(f"what evaluates cannot be sent to workers: {cause}") from None


def ask(method: Any) -> Any:
    """Call a method of an actor; an error of ours comes back as it was raised.

    Raises:
        InputError: ours, or the actor cannot be started.
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
    """What a task or an actor raised, in a line; or how Ray lost it."""
    cause = getattr(error, "cause", None)
    return describe(cause) if isinstance(cause, Exception) else one_line(error)
