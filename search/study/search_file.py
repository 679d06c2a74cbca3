"""`search.yaml`: what the results in a folder depend on (schema tokennas/search/1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from search.study.search import Search
from search.utils.plain_values import differences, plain
from space.shape import BackboneShape
from space.space import SearchSpace
from space.utils.errors import InputError, shown
from space.utils.reader import open_yaml
from space.utils.yaml_file import write_yaml

SCHEMA = "tokennas/search/1"
SEARCH_FILE = "search.yaml"
# Keys by which an origin describes a callable, see `search.study.origin`.
CALLABLE = ("name", "code", "run", "why")


@dataclass(frozen=True)
class SearchFile:
    """Everything that the results of a search depend on.

    Args:
        space: Search space, with the backbone's shape.
        objectives: Objectives as `NAME=max` or `NAME=min`.
        budget: Limits of costs and metrics, by name.
        sampler: Name and arguments of the sampler.
        seed: Seed of every random choice.
        origin: Origin of the evaluations.
        latency: Digests of the latency tables that costs come from, by name of the cost.
        functions: Objectives that are functions of the arch; None in files of earlier versions.
        directions: Directions of the constrained metrics; None in files of earlier versions.
        storage: Storage of the trials: `journal`, or the URL of a database.
        study: Name of the Optuna study.
    """

    space: SearchSpace
    objectives: tuple[str, ...]
    budget: Mapping[str, float]
    sampler: Mapping[str, Any]
    seed: int
    origin: Mapping[str, Any]
    latency: Mapping[str, str] = field(default_factory=dict)
    functions: tuple[str, ...] | None = None
    directions: Mapping[str, str] | None = None
    storage: str = ""
    study: str = ""

    @classmethod
    def of(cls, search: Search) -> SearchFile:
        """Describe a search."""
        problem, sampler = search.problem, search.sampler
        constraints = problem.budget.constraints
        limits = {limit.name: limit.most for limit in problem.budget.limits}
        return cls(
            problem.space,
            tuple(map(str, problem.objectives)),
            limits | {each.name: each.limit for each in constraints},
            plain({"name": sampler.name, **sampler.arguments}),
            search.seed,
            plain(search.origin),
            dict(problem.tables),
            tuple(
                each.name
                for each in problem.objectives
                if each.function is not None and each.name not in problem.tables
            ),
            {each.name: each.direction for each in constraints},
        )

    @classmethod
    def load(cls, folder: Path) -> SearchFile:
        """Read the description of the search in a folder.

        Raises:
            InputError: The file is invalid; the message says where.
        """
        given = open_yaml(folder / SEARCH_FILE, SCHEMA).mapping(
            *("schema", "study", "shape", "space", "objectives", "budget", "sampler", "seed"),
            **{"storage": "", "origin": {}, "latency": {}, "functions": None, "directions": None},
        )
        given["origin"].entries()
        given["sampler"].entries()
        functions, directions = given["functions"], given["directions"]
        return cls(
            SearchSpace.read(given["space"], BackboneShape.read(given["shape"])),
            tuple(each.text() for each in given["objectives"].items()),
            given["budget"].named_numbers(),
            given["sampler"].value,
            given["seed"].integer(),
            given["origin"].value,
            {name: each.text() for name, each in given["latency"].entries().items()},
            None if functions.value is None else tuple(each.text() for each in functions.items()),
            None if directions.value is None else directions.value,
            given["storage"].text(),
            given["study"].text(),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for YAML."""
        found = {item.name: plain(getattr(self, item.name)) for item in fields(self)[1:]}
        found = {name: value for name, value in found.items() if value is not None}
        space = {"shape": self.space.shape.to_dict(), "space": self.space.to_dict()}
        return {"schema": SCHEMA, **space, **found}


def find_description(folder: Path, storage: str, journal: bool) -> SearchFile | None:
    """Read the description of the search in a folder; None where there is none.

    Args:
        folder: Folder of the search.
        storage: Storage of the trials, as in `SearchFile`.
        journal: Whether the folder has a journal.

    Raises:
        InputError: The description is missing beside a journal, invalid, or of another storage.
    """
    path = folder / SEARCH_FILE
    if not path.exists():
        if journal:
            raise InputError(f"{path}: missing, so nobody can say what the results here belong to")
        return None
    found = SearchFile.load(folder)
    _refuse(folder, {"storage": found.storage}, {"storage": storage})
    return found


def settle(folder: Path, old: SearchFile | None, new: SearchFile, results: bool) -> None:
    """Check a search against the description of the stored results, or write its description.

    Args:
        folder: Folder of the search.
        old: Description in the folder, if any.
        new: Description of the search.
        results: Whether there are stored results; without any, an old description is replaced.

    Raises:
        InputError: A value differs from that of the stored results; the message shows both.
    """
    if old == new:
        return
    if results and old is not None:
        old = replace(
            old,
            origin=_named(folder, old.origin, new.origin),
            # Earlier versions did not write these.
            functions=new.functions if old.functions is None else old.functions,
            directions=new.directions if old.directions is None else old.directions,
        )
        _refuse(folder, old.to_dict(), new.to_dict())
    write_yaml(folder / SEARCH_FILE, new.to_dict())


def _named(folder: Path, old: Mapping[str, Any], new: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the origin of the stored results, with the new name where it had none.

    Raises:
        InputError: The evaluation is another unnamed callable, or cannot be compared.
    """
    then, now = ({key: each[key] for key in CALLABLE if key in each} for each in (old, new))
    if then == now or not now or ("name" in then and "name" in now):
        return old
    if "name" in now:
        return {key: value for key, value in old.items() if key not in then} | now
    if "name" in then:
        reason = f"have the origin {shown(then['name'])}"
    elif "code" in then and "code" in now:
        reason = "come from other code, or from other values in it"
    else:
        noted = "what evaluated then cannot be compared" if then else "nothing was noted of it then"
        reason = f"may come from something else than what evaluates now: {now.get('why') or noted}"
    raise InputError(
        f"{folder}: the results that are there {reason}; if they mean the same, give "
        f"origin={shown(then.get('name', 'NAME'))}, a name of your own for what evaluates, else "
        "search in another folder"
    )


def _refuse(folder: Path, then: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    for place, *values in differences(then, now):
        was, is_ = ("not set" if value is None else shown(value) for value in values)
        raise InputError(
            f"{folder}: {'.'.join(place)} was {was} in the results that are there, and is {is_}; "
            "give the old value, or search under another name (--search.name; in Python, folder)"
        )
