"""Profile of a config's archs on a device, stored as a latency table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from rich.console import Console

from search.latency.conditions import Conditions
from search.latency.design import design_archs, draw_held_out
from search.latency.fit import TOO_FAR, Error, fit_terms, kendall_tau
from search.latency.measure import (
    Timing,
    make_conditions,
    make_forward_passes,
    remove_drift,
    time_rounds,
)
from search.latency.profile_log import RoundLog
from search.latency.table import LatencyTable, MeasuredArch
from search.latency.terms import list_terms
from search.pipeline.context import RunContext
from search.pipeline.latencies import FOLDER
from search.utils.console import print_line, show_rows
from space.arch import Arch
from space.cost import macs
from space.space import SearchSpace
from space.utils.atomic import make_folder
from space.utils.errors import InputError, check_name, naming
from supernet.backbones.vit import backbone_shape, create_backbone
from supernet.models.supernet import Supernet
from supernet.tasks.registry import task_class

HELD_OUT = 40


@dataclass(frozen=True)
class ProfileOptions:
    """Options of `tokennas profile`.

    Args:
        batch: Batch size.
        dtype: Type of weights and images; None for the device's usual one.
        compile: Whether to use `torch.compile`.
        name: Name of the device in budgets; by default `cpu`, `cuda`, ...
        rounds: Number of timings of each arch.
        out: Path of the table; by default in the run's folder.
    """

    batch: int = 1
    dtype: str | None = None
    compile: bool = False
    name: str | None = None
    rounds: int = 20
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
    config, console, device = run.config, run.console, run.device
    conditions = make_conditions(device, options.batch, options.dtype, options.compile)
    name = options.name or device.type
    path = Path(options.out or run.folder.path / FOLDER / f"{name}.yaml")
    supernet = _make_supernet(run)
    if path.exists():
        table = LatencyTable.load(path)
        if table.shape != supernet.shape or not table.conditions.like(conditions):
            raise InputError(
                f"{path}: holds another profile ({table.conditions}); delete it, or give another "
                f"{'--out' if options.out else '--name'} for {conditions}"
            )
        if table.error is None:
            raise InputError(
                f"{path}: lacks the `error` of its predictions; delete it to measure again"
            )
        show(table, console)
        print_line(console, f"measured already; delete {path} to measure again")
        return table
    make_folder(path.parent)
    rng = np.random.default_rng([config.seed, 2])
    designed = design_archs(supernet.space, rng)
    held_out = draw_held_out(supernet.space, rng, HELD_OUT, designed)
    if len(held_out) < 2:
        raise InputError(
            f"space: {supernet.space.size()} archs are too few to estimate the error of "
            "predictions; give it more choices"
        )
    archs = [*designed, *held_out]
    print_line(console, f"{len(designed)} archs to fit, {len(held_out)} held out; {conditions}")
    runs = make_forward_passes(supernet, archs, conditions, device)
    description = {
        "backbone": [config.backbone.model, config.backbone.args],
        "shape": supernet.shape.to_dict(),
        "conditions": asdict(conditions),
        "archs": list(runs),
    }
    rounds = RoundLog(path.with_suffix(".rounds.jsonl"), description, len(runs))
    remaining = range(len(rounds.seconds), options.rounds)
    for seconds in time_rounds(runs, remaining, device, console, "profile"):
        rounds.add(seconds)
    timings = remove_drift(archs, rounds.seconds[: options.rounds])
    table = make_table(name, conditions, timings, held_out, supernet.space)
    table.save(path)
    rounds.path.unlink()
    show(table, console)
    print_line(console, f"written to {path}")
    return table


def _make_supernet(run: RunContext) -> Supernet:
    """Make the config's supernet without trained weights, with a head for its data if available."""
    model, args = run.config.backbone.model, dict(run.config.backbone.args)
    task = task_class(run.config.task_name)
    if not task.dense:
        # Without the data, the head of timm is timed: its share of the time is negligible.
        with suppress(InputError):
            args.setdefault("num_classes", run.task.outputs)
    backbone = create_backbone(model, args)
    if task.dense:
        run.task.reset_head(backbone, run.config.seed)
    shape = backbone_shape(backbone)
    return Supernet(backbone, SearchSpace.from_dict(run.config.space, shape, task.rules))


def make_table(
    name: str,
    conditions: Conditions,
    timings: Mapping[Arch, Timing],
    held_out: Sequence[Arch],
    space: SearchSpace,
) -> LatencyTable:
    """Fit the terms to the archs that are not held out, and compute the error on the others."""
    ms = {arch: 1e3 * timing.seconds for arch, timing in timings.items()}
    designed = {arch: value for arch, value in ms.items() if arch not in held_out}
    terms = fit_terms(designed, space.shape, list_terms(space))
    table = LatencyTable(
        name=name,
        conditions=conditions,
        full_ms=round(ms[space.largest()], 6),
        error=None,
        terms={term: round(value, 7) for term, value in terms.items()},
        measured=tuple(
            MeasuredArch(arch, round(ms[arch], 6), round(timing.spread, 4), arch in held_out)
            for arch, timing in timings.items()
        ),
        shape=space.shape,
    )
    predicted = [table.predict(arch) for arch in held_out]
    return replace(table, error=Error.of(predicted, [ms[arch] for arch in held_out]))


def show(table: LatencyTable, console: Console) -> None:
    """Print the terms of a table and the error of its predictions."""
    rows = [
        {"operator": t.operator, "tokens": t.tokens, "left": t.left, "ms": f"{ms:.4f}"}
        for t, ms in table.terms.items()
    ]
    show_rows(rows, console)
    assert table.error is not None
    held_out = [each for each in table.measured if each.held_out]
    held_out_macs = [macs(each.arch, table.shape) for each in held_out]
    tau_of_macs = kendall_tau(held_out_macs, [each.ms for each in held_out])
    spread = float(np.median([each.spread for each in table.measured]))
    print_line(console, f"full network {table.full_ms:.3f} ms a batch, on {table.conditions}")
    details = f"(by MACs alone {tau_of_macs:.3f}); spread of a measurement {spread:.1%}"
    print_line(console, f"{table.error} {details}")
    if table.error.large:
        print_line(console, TOO_FAR)
