"""The search: objectives, Optuna and Ray Tune, the front, and the command line."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from search.front.front import Front
    from search.front.front_file import FrontEntry
    from search.portfolio import Portfolio
    from search.problem.objectives import Objective
    from search.run import run_search
    from search.study.options import SearchOptions
    from search.study.session import Progress
    from search.utils.resources import RayConfig, Workers

__all__ = [
    "Front",
    "FrontEntry",
    "Objective",
    "Portfolio",
    "Progress",
    "RayConfig",
    "SearchOptions",
    "Workers",
    "run_search",
]

# Imported when they are asked for: the command line must not wait for Optuna to print its help.
_HOMES = {
    "Front": "search.front.front",
    "FrontEntry": "search.front.front_file",
    "Objective": "search.problem.objectives",
    "Portfolio": "search.portfolio",
    "Progress": "search.study.session",
    "RayConfig": "search.utils.resources",
    "SearchOptions": "search.study.options",
    "Workers": "search.utils.resources",
    "run_search": "search.run",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'search' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
