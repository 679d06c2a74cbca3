"""Profiling a config's archs on a device into a latency table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track

from search.latency.conditions import Conditions
from search.latency.design import designed_archs, held_out_archs
from search.latency.fit import TOO_FAR, Error, fit, tau
from search.latency.measure import WARM_UP, Timing, steady, take_turns, waiting_for
from search.latency.profile_log import Rounds
from search.latency.subnets import conditions_on, runs_of
from search.latency.table import LatencyTable, Measured, check_name
from search.latency.terms import list_terms
from search.pipeline.config import Config
from search.pipeline.context import RunContext, find_device
from search.pipeline.latency_tables import FOLDER
from search.utils.console import print_line, show_rows
from space.arch import Arch
from space.cost import macs
from space.space import SearchSpace
from space.utils.atomic import make_folder
from space.utils.errors import InputError, naming
from supernet.backbones.vit import backbone_shape, create_backbone
from supernet.models.supernet import Supernet

HELD_OUT = 40
ROUNDS = 20


@dataclass(frozen=True)
class ProfileOptions:
    """Options of a profile, those of `tokennas profile`."""

    batch: int = 1
    dtype: str | None = None
    compile: bool = False
    name: str | None = None
    rounds: int = ROUNDS
    out: str | None = None

    def __post_init__(self) -> None:
        if self.name is not None:
            with naming("--name"):
                check_name(self.name)
        if self.rounds < 2:
            raise InputError(f"--rounds: must be at least 2, got {self.rounds}")


def profile(run: RunContext, options: ProfileOptions) -> LatencyTable:
    """Measure archs of a config's space, fit a latency table, and write it.

    Neither trained weights nor data are needed: latency does not depend on them.

    Raises:
        InputError: The config is wrong, or the file holds another profile.
    """
    config, console = run.config, run.console
    device = find_device(config.device)
    conditions = conditions_on(device, options.batch, options.dtype, options.compile)
    name = options.name or device.type
    path = Path(options.out or run.folder.stage(FOLDER) / f"{name}.yaml")
    other = "--out" if options.out else "--name"
    if path.is_dir():
        raise InputError(f"{path}: a folder; give another {other}")
    supernet = _supernet(config).to(device).eval()
    if path.exists():
        table = LatencyTable.load(path)
        if table.shape != supernet.shape or not table.conditions.like(conditions):
            raise InputError(
                f"{path}: holds another profile ({table.conditions}); delete it, or give another "
                f"{other} for {conditions}"
            )
        show(table, console)
        print_line(console, f"measured already; delete {path} to measure anew")
        return table
    make_folder(path.parent)
    archs = _Archs.of(supernet.space, config.seed)
    counts = f"{len(archs.designed)} archs to fit, {len(archs.held_out)} to judge by"
    print_line(console, f"{counts}; on {conditions}")
    runs = runs_of(supernet, archs, conditions)
    described = {
        "backbone": [config.backbone.model, config.backbone.args],
        "conditions": conditions.to_dict(),
        "archs": list(runs),
    }
    rounds = Rounds(path.with_suffix(".rounds.jsonl"), described, len(runs))
    timings = _measure(runs, waiting_for(device), rounds, options.rounds, console)
    table = make_table(name, conditions, archs, timings, supernet.space)
    table.save(path)
    rounds.path.unlink()
    show(table, console)
    print_line(console, f"written to {path}")
    return table


@dataclass(frozen=True)
class _Archs:
    """Archs to measure: those to fit the terms to, and held-out ones to evaluate them on."""

    designed: tuple[Arch, ...]
    held_out: tuple[Arch, ...]

    @classmethod
    def of(cls, space: SearchSpace, seed: int) -> _Archs:
        rng = np.random.default_rng([seed, 2])
        designed = designed_archs(space, rng)
        held_out = held_out_archs(space, rng, HELD_OUT, designed)
        if len(held_out) < 2:
            raise InputError(
                f"space: {space.size()} archs are too few to tell how far predictions are off; "
                "give it more choices"
            )
        return cls(tuple(designed), tuple(held_out))

    def __iter__(self) -> Iterator[Arch]:
        return iter((*self.designed, *self.held_out))


def _supernet(config: Config) -> Supernet:
    """Make the config's supernet without trained weights, with the head of its data if known."""
    args = dict(config.backbone.args)
    # Elsewhere the data are not at hand; what a head takes is nothing beside the blocks.
    with suppress(InputError):
        args.setdefault("num_classes", RunContext(config, None).task.outputs)
    backbone = create_backbone(config.backbone.model, args)
    return Supernet(backbone, SearchSpace.from_dict(config.space, backbone_shape(backbone)))


def _measure(
    runs: Mapping[str, Callable[[], object]],
    wait: Callable[[], None],
    rounds: Rounds,
    count: int,
    console: Console,
) -> dict[str, Timing]:
    """Time each subnet in `count` rounds, of which those in `rounds` are done already."""
    left = range(len(rounds.seconds), count)
    warm_up = WARM_UP
    for i in track(left, "profile", console=console, disable=not console.is_terminal):
        taken = take_turns(runs, 1, wait, warm_up, seed=i)
        warm_up = 0
        rounds.add([taken[name][0] for name in runs])
        if not console.is_terminal and (i + 1) % max(1, count // 5) == 0:
            print_line(console, f"profile {i + 1}/{count} rounds")
    columns = map(list, zip(*rounds.seconds[:count], strict=True))
    return steady(dict(zip(runs, columns, strict=True)))


def make_table(
    name: str,
    conditions: Conditions,
    archs: _Archs,
    timings: Mapping[str, Timing],
    space: SearchSpace,
) -> LatencyTable:
    """Fit the terms to the designed archs, and compute their error on the held-out ones."""
    ms = {arch: 1e3 * timings[space.identity(arch)].seconds for arch in archs}
    spread = {arch: timings[space.identity(arch)].spread for arch in archs}
    terms = fit({arch: ms[arch] for arch in archs.designed}, space.shape, list_terms(space))
    table = LatencyTable(
        name=name,
        conditions=conditions,
        full_ms=round(ms[space.largest()], 6),
        error=None,
        terms={term: round(value, 7) for term, value in terms.items()},
        measured=tuple(
            Measured(arch, round(ms[arch], 6), round(spread[arch], 4), arch in archs.held_out)
            for arch in archs
        ),
        shape=space.shape,
    )
    predicted = [table.predict(arch) for arch in archs.held_out]
    error = Error.of(predicted, [ms[arch] for arch in archs.held_out])
    return replace(table, error=error)


def show(table: LatencyTable, console: Console) -> None:
    """Print the terms of a table and the error of its predictions."""
    rows = [
        {"operator": t.operator, "tokens": t.tokens, "left": t.left, "ms": f"{ms:.4f}"}
        for t, ms in table.terms.items()
    ]
    show_rows(rows, console)
    assert table.error is not None
    held = [each for each in table.measured if each.held_out]
    by_macs = tau([macs(each.arch, table.shape) for each in held], [each.ms for each in held])
    spread = float(np.median([each.spread for each in table.measured]))
    lines = [
        f"full network {table.full_ms:.3f} ms a batch, on {table.conditions}",
        f"{table.error} (by MACs alone {by_macs:.3f}); spread of a measurement {spread:.1%}",
    ]
    if table.error.large:
        lines.append(TOO_FAR)
    for line in lines:
        print_line(console, line)
