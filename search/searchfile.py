"""`search.yaml`: what the results in a search's folder belong to (schema tokennas/search/1)."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from search.budget import quantity
from search.problem import Problem
from search.samplers import SamplerChoice
from space.utils.errors import InputError, cut, shown
from space.utils.yaml_file import read_yaml, write_yaml

SCHEMA = "tokennas/search/1"
NAME = "search.yaml"
# What an origin says of a callable, see `search.origin`.
CALLABLE = ("name", "code", "run", "why")
# Which objectives are functions of the arch, and which way limits on metrics point.
ADDED = ("functions", "directions")


def describe_search(
    problem: Problem, sampler: SamplerChoice, seed: int, origin: Mapping[str, Any]
) -> dict[str, Any]:
    """All that results depend on, in plain values."""
    arguments = {name: _plain(value) for name, value in sampler.arguments.items()}
    limits = {limit.name: limit.most for limit in problem.budget.limits}
    limits |= {each.name: each.limit for each in problem.budget.constraints}
    latency = {"latency": dict(problem.tables)} if problem.tables else {}
    functions = [
        each.name
        for each in problem.objectives
        if each.function is not None and each.name not in problem.tables
    ]
    return {
        "shape": problem.space.shape.to_dict(),
        "space": problem.space.to_dict(),
        "objectives": [str(objective) for objective in problem.objectives],
        "budget": limits,
        "sampler": {"name": sampler.name, **arguments},
        "seed": seed,
        "origin": {name: _plain(value) for name, value in origin.items()},
        **latency,
        "functions": functions,
        "directions": {each.name: each.direction for each in problem.budget.constraints},
    }


def study_name(folder: Path, storage: str, journal: bool) -> str:
    """The name of the Optuna study of a search; a new one where there is none.

    Args:
        folder: of the search.
        storage: where its trials are.
        journal: whether there is one in the folder.

    Raises:
        InputError: the description is missing or is none, or names another storage.
    """
    path = folder / NAME
    if not path.exists():
        if journal:
            raise InputError(f"{path}: missing, so nobody can say what the results here belong to")
        return f"{folder.resolve().name}-{secrets.token_hex(4)}"
    document = read_yaml(path)
    data = document.data if isinstance(document.data, dict) else {}
    if data.get("schema") != SCHEMA or not isinstance(data.get("study"), str):
        raise document.error(("schema",), f"must be {SCHEMA}, got {shown(data.get('schema'))}")
    _refuse(folder, _differences(data.get("storage"), storage, "storage"))
    return str(data["study"])


def settle(folder: Path, study: str, description: Mapping[str, Any], results: bool) -> None:
    """Check the description of a search against that of its results, or write it.

    Args:
        folder: of the search.
        study: see `study_name`.
        description: see `describe_search`.
        results: whether there are results already; without any a description has no meaning yet.

    Raises:
        InputError: a value differs from that of the results that are there; old and new are shown.
    """
    path, new = folder / NAME, {"schema": SCHEMA, "study": study, **description}
    old = read_yaml(path).data if path.exists() else {}
    if old == new:
        return
    if results:
        origin = _named(folder, old.get("origin"), new["origin"])
        # Earlier versions did not write these.
        old = {**{key: new[key] for key in ADDED}, **old}
        _refuse(folder, _differences({**old, "origin": origin}, new, ""))
    write_yaml(path, new)


def _named(folder: Path, old: Any, new: Mapping[str, Any]) -> Any:
    """The origin of the results that are there, by the user's name for it where it had none.

    Raises:
        InputError: what evaluates is another callable without a name, or nobody can tell.
    """
    origin = old if isinstance(old, dict) else {}
    then, now = ({key: each[key] for key in CALLABLE if key in each} for each in (origin, new))
    if then == now or not now or ("name" in then and "name" in now):
        return old
    if "name" in now:
        return {key: value for key, value in origin.items() if key not in then} | now
    if "name" in then:
        raise InputError(
            f"{folder}: the results that are there have the origin {shown(then['name'])}; give it "
            "again if they come from what evaluates now, else search in another folder"
        )
    if "code" in then and "code" in now:
        reason = "come from other code, or from other values in it"
    else:
        noted = "what evaluated then cannot be compared" if then else "nothing was noted of it then"
        reason = f"may come from something else than what evaluates now: {now.get('why') or noted}"
    raise InputError(
        f"{folder}: the results that are there {reason}; if they mean the same, give "
        "origin='NAME', a name of your own for what evaluates, else search in another folder"
    )


def _refuse(folder: Path, differences: Iterator[tuple[str, str, str]]) -> None:
    for place, old, new in differences:
        raise InputError(
            f"{folder}: {place} was {old} in the results that are there, and is {new}; give the "
            "old value, or search under another name (--search.name; in Python, folder)"
        )


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
