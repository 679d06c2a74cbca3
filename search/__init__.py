"""The search: objectives, Optuna and Ray Tune, the front, and the command line."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from search.front.front import Front as Front
    from search.front.front_file import FrontEntry as FrontEntry
    from search.portfolio import Portfolio as Portfolio
    from search.problem.objectives import Objective as Objective
    from search.run import run_search as run_search
    from search.study.options import SearchOptions as SearchOptions
    from search.study.session import Progress as Progress
    from search.utils.resources import RayConfig as RayConfig
    from search.utils.resources import Workers as Workers

# Imported when they are asked for: the command line must not wait for Optuna to print its help.
_MODULES = {
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
__all__ = list(_MODULES)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'search' has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
