"""The search: objectives, Optuna and Ray Tune, the front, and the command line."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from search.front import Front
    from search.frontfile import FrontEntry
    from search.objectives import Objective
    from search.portfolio import Portfolio
    from search.run import run_search
    from search.session import Progress
    from search.workers import RayConfig, Workers

__all__ = [
    "Front",
    "FrontEntry",
    "Objective",
    "Portfolio",
    "Progress",
    "RayConfig",
    "Workers",
    "run_search",
]

# Imported when they are asked for: the command line must not wait for Optuna to print its help.
_HOMES = {
    "Front": "search.front",
    "FrontEntry": "search.frontfile",
    "Objective": "search.objectives",
    "Portfolio": "search.portfolio",
    "Progress": "search.session",
    "RayConfig": "search.workers",
    "Workers": "search.workers",
    "run_search": "search.run",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'search' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
