"""The registry of operators. To add one: its file, and its line here."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeVar, cast

from space.operators.base import Operator
from space.operators.pooling import Pooling
from space.operators.sharing import Sharing
from space.operators.skipping import Skipping
from space.rules import RULES
from space.utils.errors import InputError, shown

F = TypeVar("F", bound=Callable[..., Any])

# The order in which a block applies them: token operators before attention.
_operators: tuple[Operator[Any, Any], ...] = (Pooling(), Skipping(), Sharing())
_clear_caches: list[Callable[[], None]] = []


def operators() -> tuple[Operator[Any, Any], ...]:
    """Return the operators, in the order in which a block applies them."""
    return _operators


def operator(name: str) -> Operator[Any, Any]:
    """Return an operator by its name.

    Raises:
        InputError: No operator of this process has the name.
    """
    for each in _operators:
        if each.name == name:
            return each
    known = ", ".join(each.name for each in _operators)
    raise InputError(f"operator {shown(name)}: not registered in this process, which has {known}")


def register(new: Operator[Any, Any]) -> None:
    """Register an operator; needed in every process that runs its archs.

    Raises:
        InputError: The name or a key is taken.
    """
    taken = {key for each in _operators for key in (each.name, *each.keys)}
    if new.name == RULES:
        raise InputError(f"operator {RULES!r}: is the name of another section of a space")
    for key in (new.name, *new.keys):
        if key in taken:
            raise InputError(f"operator {key!r}: is registered already")
    _set(tuple(sorted((*_operators, new), key=lambda each: each.kind == "attention")))


def cached(size: int) -> Callable[[F], F]:
    """Make a decorator: an LRU cache of `size` results, cleared when the registry changes."""

    def decorate(function: F) -> F:
        wrapper = lru_cache(maxsize=size)(function)
        _clear_caches.append(wrapper.cache_clear)
        return cast(F, wrapper)

    return decorate


def _set(registry: tuple[Operator[Any, Any], ...]) -> None:
    global _operators  # noqa: PLW0603 - the one registry
    _operators = registry
    for clear in _clear_caches:
        clear()
