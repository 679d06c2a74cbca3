"""`search.yaml`: what the results in a search's folder belong to (schema tokennas/search/1)."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from search.budget import quantity
from search.problem import Problem
from search.samplers import SamplerChoice
from space.errors import InputError, cut, shown
from space.yamlfile import read_yaml, write_yaml

SCHEMA = "tokennas/search/1"
NAME = "search.yaml"


def describe_search(
    problem: Problem, sampler: SamplerChoice, seed: int, origin: Mapping[str, Any]
) -> dict[str, Any]:
    """All that results depend on, in plain values."""
    arguments = {name: _plain(value) for name, value in sampler.arguments.items()}
    limits = {limit.name: limit.most for limit in problem.budget.limits}
    limits |= {each.name: each.limit for each in problem.budget.constraints}
    latency = {"latency": dict(problem.tables)} if problem.tables else {}
    return {
        "shape": problem.space.shape.to_dict(),
        "space": problem.space.to_dict(),
        "objectives": [str(objective) for objective in problem.objectives],
        "budget": limits,
        "sampler": {"name": sampler.name, **arguments},
        "seed": seed,
        "origin": {name: _plain(value) for name, value in origin.items()},
        **latency,
    }


def settle(folder: Path, description: Mapping[str, Any], results: bool) -> str:
    """Write the description of a new search, or check it against the one that is there.

    Args:
        folder: of the search.
        description: see `describe_search`.
        results: whether there are results already.

    Returns:
        The name of the Optuna study.

    Raises:
        InputError: a value differs from that of the results that are there; old and new are shown.
    """
    path = folder / NAME
    if not path.exists():
        if results:
            raise InputError(f"{path}: missing, so nobody can say what the results here belong to")
        study = f"{folder.resolve().name}-{secrets.token_hex(4)}"
        write_yaml(path, {"schema": SCHEMA, "study": study, **description})
        return study
    document = read_yaml(path)
    data = document.data if isinstance(document.data, dict) else {}
    if data.get("schema") != SCHEMA or not isinstance(data.get("study"), str):
        raise document.error(("schema",), f"must be {SCHEMA}, got {shown(data.get('schema'))}")
    there = {key: value for key, value in data.items() if key not in ("schema", "study")}
    for place, old, new in _differences(there, dict(description), ""):
        raise InputError(
            f"{folder}: {place} was {old} in the results that are there, and is {new}; give the "
            "old value, or search under another name (--search.name; in Python, folder)"
        )
    return str(data["study"])


def tables_in(folder: Path) -> dict[str, str]:
    """Digests of the latency tables of the search in `folder`, by the name of the cost."""
    path = folder / NAME
    data = read_yaml(path).data if path.exists() else None
    found = data.get("latency") if isinstance(data, dict) else None
    return {str(k): str(v) for k, v in found.items()} if isinstance(found, dict) else {}


def origin_of(folder: Path) -> dict[str, Any]:
    """Shape and origin of the search in `folder`: equal ones mean comparable results.

    Raises:
        InputError: there is no search.
    """
    data = read_yaml(folder / NAME).data
    data = data if isinstance(data, dict) else {}
    return {"shape": data.get("shape"), "origin": data.get("origin")}


def _differences(old: Any, new: Any, place: str) -> Iterator[tuple[str, str, str]]:
    """Each place where two plain values differ, with both."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in dict.fromkeys((*old, *new)):
            name = f"{place}.{key}".removeprefix(".")
            if key not in old or key not in new:
                yield name, _shown(old.get(key)), _shown(new.get(key))
            else:
                yield from _differences(old[key], new[key], name)
    elif old != new:
        short = _short(old), _short(new)
        yield place, *(short if short[0] != short[1] else (_shown(old), _shown(new)))


def _short(value: Any) -> str:
    """Budgets as people write them."""
    return quantity(value) if isinstance(value, float) else _shown(value)


def _shown(value: Any) -> str:
    return "not set" if value is None else cut(shown(value))


def _plain(value: Any) -> Any:
    """What YAML can hold of a value: objects and functions by how they are written."""
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value if value is None or isinstance(value, str | int | float | bool) else shown(value)
