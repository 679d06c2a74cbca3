"""`search.yaml`: the settings that a folder's results depend on (schema tokennas/search/1)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from search.study.options import without_password
from search.study.search import Search
from search.utils.plain_values import differences, plain
from search.utils.units import quantity
from space.shape import BackboneShape
from space.space import SearchSpace
from space.utils.errors import InputError, shown
from space.utils.reader import open_yaml
from space.utils.yaml_file import write_yaml

SCHEMA = "tokennas/search/1"
SEARCH_FILE = "search.yaml"
# Keys of an origin that describe a callable, see `search.study.origin`.
CALLABLE_KEYS = ("name", "code", "run", "why")


@dataclass(frozen=True)
class SearchFile:
    """The description of a search: all settings that its results depend on.

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
        floors: Lower limits of costs, by name, where budgets are ranges; None for none.
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
    floors: Mapping[str, float] | None = None

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
            dict(problem.table_digests),
            tuple(
                each.name
                for each in problem.objectives
                if each.function is not None and each.name not in problem.table_digests
            ),
            {each.name: each.direction for each in constraints},
            floors={each.name: each.least for each in problem.budget.limits if each.least} or None,
        )

    @classmethod
    def load(cls, folder: Path) -> SearchFile:
        """Read the description of the search in a folder.

        Raises:
            InputError: The file is invalid.
        """
        values = open_yaml(folder / SEARCH_FILE, SCHEMA).mapping(
            *("schema", "study", "shape", "space", "objectives", "budget", "sampler", "seed"),
            **{"storage": "", "origin": {}, "latency": {}, "functions": None, "directions": None},
            floors=None,
        )
        values["origin"].entries()
        values["sampler"].entries()
        functions, directions = values["functions"], values["directions"]
        floors = values["floors"]
        return cls(
            SearchSpace.read(values["space"], BackboneShape.read(values["shape"])),
            tuple(each.text() for each in values["objectives"].items()),
            values["budget"].named_numbers(),
            values["sampler"].value,
            values["seed"].integer(),
            values["origin"].value,
            {name: each.text() for name, each in values["latency"].entries().items()},
            None if functions.value is None else tuple(each.text() for each in functions.items()),
            None if directions.value is None else directions.value,
            without_password(values["storage"].text()),
            values["study"].text(),
            None if floors.value is None else floors.named_numbers(),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for YAML."""
        values = {item.name: plain(getattr(self, item.name)) for item in fields(self)[1:]}
        values = {name: value for name, value in values.items() if value is not None}
        space = {"shape": self.space.shape.to_dict(), "space": self.space.to_dict()}
        return {"schema": SCHEMA, **space, **values}


def read_origin(folders: Iterable[Path]) -> Mapping[str, Any] | None:
    """Read the origin of the first search that is there; None without one.

    Raises:
        InputError: The description of that search is invalid.
    """
    for folder in folders:
        if (folder / SEARCH_FILE).exists():
            origin = SearchFile.load(folder).origin
            return origin if isinstance(origin, Mapping) else {}
    return None


def read_description(folder: Path, storage: str, has_journal: bool) -> SearchFile | None:
    """Read the description of the search in a folder; None without one.

    Args:
        folder: Folder of the search.
        storage: Storage of the trials, as in `SearchFile`.
        has_journal: Whether the folder has a journal.

    Raises:
        InputError: The description is missing beside a journal, invalid, or of another storage.
    """
    path = folder / SEARCH_FILE
    if not path.exists():
        if has_journal:
            raise InputError(f"{path}: missing, so the search of these results is unknown")
        return None
    description = SearchFile.load(folder)
    _refuse_differences(folder, {"storage": description.storage}, {"storage": storage})
    return description


def update_description(
    folder: Path, old: SearchFile | None, new: SearchFile, has_results: bool
) -> None:
    """Check a search against the description of stored results, if any; write its description.

    Args:
        folder: Folder of the search.
        old: Description in the folder, if any.
        new: Description of the search.
        has_results: Whether there are stored results; otherwise an old description is replaced.

    Raises:
        InputError: A value differs from that of the stored results; the message shows both.
    """
    if old == new:
        return
    if has_results and old is not None:
        old = replace(
            old,
            origin=_merge_origins(folder, old.origin, new.origin),
            # Earlier versions did not write these.
            functions=new.functions if old.functions is None else old.functions,
            directions=new.directions if old.directions is None else old.directions,
        )
        _refuse_differences(folder, old.to_dict(), new.to_dict())
    write_yaml(folder / SEARCH_FILE, new.to_dict())


def _merge_origins(
    folder: Path, old: Mapping[str, Any], new: Mapping[str, Any]
) -> Mapping[str, Any]:
    """Return the stored origin; a new name replaces its description of the callable.

    Raises:
        InputError: The descriptions of the callables differ, and the new one is not a name.
    """
    then, now = ({key: each[key] for key in CALLABLE_KEYS if key in each} for each in (old, new))
    if then == now or not now or ("name" in then and "name" in now):
        return old
    if "name" in now:
        return {key: value for key, value in old.items() if key not in then} | now
    if "name" in then:
        reason = f"have the origin {shown(then['name'])}"
    elif "code" in then and "code" in now:
        reason = "come from other code, or from other values in it"
    else:
        noted = "the old evaluation cannot be compared" if then else "its origin was not stored"
        reason = f"may come from another evaluation than this one: {now.get('why') or noted}"
    name = shown(then["name"]) if "name" in then else "'NAME', a name of your own"
    raise InputError(
        f"{folder}: the results that are there {reason}; if both evaluations are the same, give "
        f"origin={name}, else search in another folder"
    )


def _describe_floors(floors: Mapping[str, float] | None) -> str:
    limits = [f"{name}={quantity(least)}" for name, least in (floors or {}).items()]
    return f"the lower limit {', '.join(limits)}" if limits else "no lower limit"


def _refuse_differences(folder: Path, then: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    for place, *values in differences(then, now):
        if place[0] == "floors":
            floors = [_describe_floors(each.get("floors")) for each in (then, now)]
            raise InputError(
                f"{folder}: the results that are there are of a budget with {floors[0]}, this one "
                f"has {floors[1]}; give the old search.budget, or search under another name "
                "(--search.name; in Python, folder)"
            )
        if place == ("origin", "maps"):
            if values[0] is None:  # earlier versions did not store it
                continue
            raise InputError(
                f"{folder}: the maps of the search split are not those that the results there were "
                "measured on; give these, or search under another name (--search.name)"
            )
        was, is_ = ("not set" if value is None else shown(value) for value in values)
        raise InputError(
            f"{folder}: {'.'.join(place)} was {was} in the results that are there, and is {is_}; "
            "give the old value, or search under another name (--search.name; in Python, folder)"
        )
