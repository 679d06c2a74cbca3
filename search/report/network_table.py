"""The table of networks for terminal and page, a row each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from rich.console import Console

from search.pipeline.choose import Purpose, split_budget
from search.problem.budget import parse_amount
from search.report.networks import Network
from search.report.search_result import Score
from search.utils.console import OPTIMISTIC, Column, print_line, show_columns
from search.utils.units import quantity
from space.baselines import baselines
from space.space import SearchSpace

FILE = "file"


@dataclass(frozen=True)
class NetworkTable:
    """A table of networks, with the notes beneath it."""

    columns: Sequence[Column]
    notes: Sequence[str]

    @property
    def rows(self) -> list[tuple[str, ...]]:
        return list(zip(*(column.cells for column in self.columns), strict=True))


def make_network_table(
    networks: Sequence[Network],
    score: Score,
    test_score: Score,
    more_scores: Sequence[Score] = (),
    *,
    space: SearchSpace | None = None,
    full: Mapping[str, float] = MappingProxyType({}),
) -> NetworkTable:
    """Make the table, without columns that are empty.

    Args:
        networks: The networks.
        score: The metric that ranks them on the search split.
        test_score: The metric to show on the test split.
        more_scores: More metrics of the retrained weights.
        space: Their space, to note which found ones people build by hand; None where it is unknown.
        full: Costs of the full network by name, to note which networks exceed their milliseconds.
    """
    retrained = any(each.retrained for each in networks)
    # Metrics of the search split are biased by selection: left out if there are test metrics.
    search_scores = [] if retrained else [score.format(each.search) for each in networks]
    # Papers on dense tasks count the backbone alone.
    dense = [each for each in networks if each.shape.has_dense_head]
    speeds = [f"{each.speed.value:,.0f}" if each.speed else "" for each in networks]
    columns = [
        Column("network", [_format_name(each) for each in networks], text=True),
        Column("MACs", [quantity(each.macs) for each in networks]),
        Column("of full", [f"{each.mac_share:.0%}" for each in networks]),
        Column("without head", [quantity(each.backbone_macs) for each in dense]),
        Column("of full without head", [f"{each.backbone_share:.0%}" for each in dense]),
        Column("parameters", [quantity(each.params) for each in networks]),
        Column("parameters without head", [quantity(each.backbone_params) for each in dense]),
        Column(f"{score.title}, search split", search_scores),
        Column(
            f"{test_score.heading}, inherited",
            [test_score.format(each.inherited) for each in networks],
        ),
        Column(
            f"{test_score.heading}, retrained",
            [test_score.format(each.retrained) for each in networks],
        ),
        *(Column(each.title, [each.format(n.retrained) for n in networks]) for each in more_scores),
        Column("images/s", speeds),
        *_make_latency_columns(networks),
        Column(FILE, [str(each.file or "") for each in networks], text=True),
    ]
    if retrained:
        error = _describe_error(networks, test_score)
        notes = [f"inherited, retrained: {test_score.title} on the test split{error}."]
    else:
        notes = [OPTIMISTIC]
    devices = sorted({each.speed.conditions for each in networks if each.speed} - {""})
    if devices:
        notes.append(f"images/s: in inference on {'; '.join(devices)}.")
    notes += [*_note_latencies(networks), *_note_excesses(networks, full)]
    if space is not None:
        notes += _note_hand_made(networks, space)
    notes.append("1 MAC = 2 FLOPs.")
    return NetworkTable([each for each in columns if any(each.cells)], notes)


def show_network_table(table: NetworkTable, title: str, run: Path, console: Console) -> None:
    """Print the table, and beneath it the full paths of the files, to be copied."""
    show_columns([each for each in table.columns if each.title != FILE], console, title)
    for column in table.columns:
        if column.title == FILE:
            for file in filter(None, column.cells):
                print_line(console, str(run / file))
    console.print(" ".join(table.notes), highlight=False, markup=False, style="dim")


def _format_name(network: Network) -> str:
    if network.better is not None:
        return f"{network.name} (outdated)"
    return "full network" if network.is_full else network.name


def _make_latency_columns(networks: Sequence[Network]) -> Iterator[Column]:
    """Make a column for each latency; `~` marks predictions."""
    for name in dict.fromkeys(name for each in networks for name in each.latencies):
        timings = [each.latencies.get(name) for each in networks]
        cells = [f"{'' if t.measured else '~'}{t.value:.3g}" if t else "" for t in timings]
        yield Column(name, cells)


def _note_latencies(networks: Sequence[Network]) -> list[str]:
    """Note the device of each latency, and whether it was measured."""
    notes = {
        f"{name}: of a batch, {'measured' if each.measured else 'predicted (~)'}"
        f"{f' on {each.conditions}' if each.conditions else ''}."
        for network in networks
        for name, each in network.latencies.items()
    }
    return sorted(notes)


def _note_excesses(networks: Sequence[Network], full: Mapping[str, float]) -> Iterator[str]:
    """Note which networks, when they were timed, took longer than their budget allows."""
    for network in networks:
        name, amount = split_budget(Purpose.parse(network.name).budget)
        timing = network.latencies.get(name)
        if timing is not None and timing.measured and name in full:
            most = parse_amount(name, amount, full[name])
            if timing.value > most:
                excess = f"{timing.value / most - 1:.1%} over {most:.3g}"
                yield f"{network.name} exceeds its budget: {name} is {timing.value:.3g}, {excess}."


def _note_hand_made(networks: Sequence[Network], space: SearchSpace) -> list[str]:
    """Note which networks have a hand-made arch, though not its name."""
    notes = []
    for network in networks:
        if network.is_full or Purpose.parse(network.name).kind == "baseline":
            continue
        # A family's arch within its own MACs is itself.
        families = [x.name for x in baselines(space, network.macs) if x.arch == network.arch]
        if families:
            notes.append(f"{network.name} is hand-made too: {', '.join(families)}.")
    return notes


def _describe_error(networks: Sequence[Network], score: Score) -> str:
    """Describe the number of test images, and the standard error of a score on them."""
    for each in networks:
        share, error = each.retrained.get(score.name), each.standard_errors.get(score.name)
        if not each.test_images or share is None:
            continue
        if error is None and score.is_percent:  # of an earlier version, which had shares alone
            error = (share * (1 - share) / each.test_images) ** 0.5
        if error is None:
            return f", {each.test_images:,} images"
        value = f"{100 * error:.1f} points" if score.is_percent else f"{error:.2g}{score.unit}"
        note = f"one standard error of the {score.title} is {value}"
        return f", {each.test_images:,} images ({note})"
    return ""
