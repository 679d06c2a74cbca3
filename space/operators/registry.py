"""Which operators there are. To add one: its file beside this one, and its line here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, TypeVar, cast

from space.operators.base import Operator
from space.operators.pooling import Pooling
from space.operators.sharing import Sharing
from space.operators.skipping import Skipping
from space.utils.errors import InputError

F = TypeVar("F", bound=Callable[..., Any])

# A block goes through them in this order: first those that choose its tokens.
_operators: tuple[Operator[Any, Any], ...] = (Pooling(), Skipping(), Sharing())
_cached: list[Callable[[], None]] = []


def operators() -> tuple[Operator[Any, Any], ...]:
    """The operators, in the order in which a block goes through them."""
    return _operators


def operator(name: str) -> Operator[Any, Any]:
    """The operator of that name."""
    return next(each for each in _operators if each.name == name)


def register(added: Operator[Any, Any]) -> None:
    """Add an operator from outside; every process that runs its archs must do so.

    Raises:
        InputError: There is one of that name, or one whose choices have that key.
    """
    taken = {key for each in _operators for key in (each.name, *each.keys)}
    for key in (added.name, *added.keys):
        if key in taken:
            raise InputError(f"operator {key!r}: there is one of that name")
    attention = [each for each in _operators if each.kind == "attention"]
    others = [each for each in _operators if each.kind != "attention"]
    (attention if added.kind == "attention" else others).append(added)
    _set((*others, *attention))


@contextmanager
def registered(added: Operator[Any, Any]) -> Iterator[None]:
    """An operator that is there for a while."""
    before = _operators
    register(added)
    try:
        yield
    finally:
        _set(before)


def cached(size: int) -> Callable[[F], F]:
    """Keep the last results of a function that depends on which operators there are."""

    def decorate(function: F) -> F:
        kept = lru_cache(maxsize=size)(function)
        _cached.append(kept.cache_clear)
        return cast(F, kept)

    return decorate


def _set(wanted: tuple[Operator[Any, Any], ...]) -> None:
    global _operators  # noqa: PLW0603 - the one registry
    _operators = wanted
    for clear in _cached:
        clear()
