"""Stage four: chosen subnets, the full network and hand-made archs, retrained the same way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from rich.console import Console
from torch import nn

from search.config import Config
from search.folder import RunFolder
from search.latency.table import LatencyTable
from search.lock import FolderLock
from search.processes import all_do, first_does
from search.stages.choosing import Choice, choose, given, stage_of
from search.stages.exporting import load_front, write_arch
from search.stages.figures import add_figures, row
from search.stages.places import (
    ARCH,
    STARTED,
    VALUES,
    WEIGHTS,
    forgive,
    note_failure,
    reason_of,
    take,
)
from search.stages.random_archs import RandomArchs
from search.stages.setup import Setup, trained
from search.stages.tables import tables_by_cost
from space.arch import Arch
from space.utils.atomic import writing
from space.utils.errors import InputError
from space.utils.signals import ProcessLostError
from supernet.backbones.load import load_backbone
from supernet.evaluation import HeldOut
from supernet.models.elastic import ElasticViT
from supernet.models.subnet import extract, subnet_of
from supernet.process_group import Processes
from supernet.training.retrain import retrain as train_subnet
from supernet.weights import save_weights


@dataclass(frozen=True)
class Retrained:
    """What came of the choices.

    Args:
        rows: one for each that is retrained, for a table.
        failed: why each other one is not, in a line, by name.
        images: of the test split.
    """

    rows: list[dict[str, Any]]
    failed: dict[str, str]
    images: int

    @property
    def title(self) -> str:
        """Of the table."""
        return f"retrained, on the test split, {self.images:,} images"

    def check(self) -> None:
        """Name those that failed, once all that could be done is done.

        Raises:
            InputError: some did.
        """
        if self.failed:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in self.failed.items())
            raise InputError(
                f"{len(self.failed)} of {len(self.rows) + len(self.failed)} networks could not be "
                f"retrained ({reasons}); the same command tries again"
            )


def retrain(config: Config, file: Path | None, archs: list[str], console: Console) -> Retrained:
    """Retrain the front's best within each budget, or the given arch files.

    Raises:
        InputError: there is no front, no subnet within a budget, or an arch file is not right.
    """
    folder = RunFolder(config, file)
    setup = trained(config, file)
    space = setup.supernet.space
    tables = _tables(config, folder, console)
    choices = given(archs, space) if archs else []
    tell = partial(console.print, soft_wrap=True, highlight=False, markup=False)
    if not choices:
        front = load_front(folder, config)
        random = RandomArchs(config, file, setup, front.evaluations, console)
        best_of_random = random.best if config.retrain.random else None
        choices = list(choose(config, front, space, tell, best_of_random))
    for choice in choices:
        folder.check(stage_of(config, choice), VALUES)
    setup.check_images(folder)
    places, todo = {}, []
    for choice in choices:
        place, finished = take(folder, stage_of(config, choice), choice.arch, space, console)
        places[choice.name] = place
        if not finished:
            todo.append(choice)
    one = Retraining(config, setup, folder)
    failed = _retrain_all(one, file, {choice: places[choice.name] for choice in todo}, console)
    done = {name: place for name, place in places.items() if name not in failed}
    write = partial(write_arch, setup=setup, config=config, folder=folder)
    add_figures(done, setup, tables, amp=config.retrain.amp, write=write, console=console)
    images = len(setup.data.test.dataset)  # type: ignore[arg-type]
    return Retrained([row(name, place / ARCH) for name, place in done.items()], failed, images)


def _tables(config: Config, folder: RunFolder, console: Console) -> dict[str, LatencyTable]:
    """The search's latency tables; retraining can do without."""
    try:
        return tables_by_cost(config, folder)
    except InputError as error:
        console.print(f"No milliseconds: {error}", markup=False, soft_wrap=True)
        return {}


def _retrain_all(
    one: Retraining, file: Path | None, places: Mapping[Choice, Path], console: Console
) -> dict[str, str]:
    """Retrain choices, one after the other or side by side; gives why some are not, by name."""
    workers = one.config.retrainers()
    if workers == 0 or not places:
        run: Callable[[Choice, Path], str | None] = one.attempt
        found = {choice.name: run(choice, place) for choice, place in places.items()}
    else:
        # Ray is imported where it is used.
        from search.cluster.retraining import retrain_side_by_side  # noqa: PLC0415

        found = retrain_side_by_side(one.config, file, places, workers, console)
    return {name: reason for name, reason in found.items() if reason is not None}


def retrain_one(config: Config, file: Path | None, choice: Choice, place: Path) -> str | None:
    """Retrain a choice in a process of its own; gives why it could not be done, if so."""
    try:
        setup = trained(config, file, device=config.device)
    except InputError as error:
        note_failure(place, str(error))
        return str(error)
    return Retraining(config, setup, RunFolder(config, file), quiet=True).attempt(choice, place)


def retrain_share(config: Config, file: Path | None, choice: Choice, place: Path) -> None:
    """Retrain a choice together with the other processes of torch's process group.

    Raises:
        InputError: of this process, or of another one with its rank.
        KeyboardInterrupt: all were asked to stop; there is a checkpoint.
    """
    first = Processes.current().first
    setup = all_do(lambda: trained(config, file, device=config.device))
    with all_do(lambda: FolderLock(place) if first else nullcontext()):
        first_does(lambda: forgive(place))
        try:
            Retraining(config, setup, RunFolder(config, file), quiet=True).run(choice, place)
        except Exception as error:
            # Where another process has died, Ray Train takes the group away from us.
            if not isinstance(error, ProcessLostError) and Processes.current().count > 1:
                note_failure(place, reason_of(error))
            raise


@dataclass(frozen=True)
class Retraining:
    """Retrains choices.

    Args:
        config, setup, folder: of the run.
        quiet: show nothing.
    """

    config: Config
    setup: Setup
    folder: RunFolder
    quiet: bool = False

    def attempt(self, choice: Choice, place: Path) -> str | None:
        """Retrain a choice; gives why it could not be done, which its folder says then too."""
        try:
            lock = FolderLock(place)
        except InputError as error:
            return str(error)
        with lock:
            forgive(place)
            try:
                self.run(choice, place)
            except Exception as error:
                # The others can be retrained all the same.
                note_failure(place, reason_of(error))
                return reason_of(error)
        return None

    def run(self, choice: Choice, place: Path) -> None:
        """Train, judge on the test split, and write weights and arch file."""
        config, setup, recipe = self.config, self.setup, self.config.retrain
        origin: dict[str, Any] = {"choice": choice.name, "weights": recipe.weights}
        if Processes.current().count > 1:
            # Whose batches were joined.
            origin["processes"] = Processes.current().count
        write = partial(write_arch, setup=setup, config=config, folder=self.folder, origin=origin)
        # Of processes that train together the first one judges and writes.
        metrics = first_does(lambda: self._inherited(choice.arch)) or {}
        first_does(lambda: write(place / STARTED, choice.arch))
        subnet = train_subnet(
            self._begin(choice.arch),
            setup.data.train,
            task=setup.task,
            recipe=recipe,
            held_out=setup.held_out(recipe.amp) if Processes.current().first else None,
            teacher=self._teacher(),
            folder=place,
            seed=config.seed,
            title=f"retrain {choice.name}",
            quiet=self.quiet,
        )

        def finish() -> None:
            save_weights(subnet, place / WEIGHTS)
            metrics["retrained"] = self._test.measure(subnet)
            # Written last: this arch file says that its folder is complete.
            write(place / ARCH, choice.arch, metrics=metrics)
            with writing(place / STARTED):
                (place / STARTED).unlink()

        first_does(finish)

    def _inherited(self, arch: Arch) -> dict[str, Any]:
        """What the supernet's weights give, on the test split."""
        inherited = extract(self.setup.supernet, arch).eval()
        images = len(self.setup.data.test.dataset)  # type: ignore[arg-type]
        return {"inherited": self._test.measure(inherited), "test_images": images}

    @cached_property
    def _test(self) -> HeldOut:
        setup = self.setup
        return HeldOut(setup.data.test, setup.task, setup.device, self.config.retrain.amp)

    def _teacher(self) -> nn.Module | None:
        if not self.config.retrain.distill:
            return None
        supernet = self.setup.supernet
        return extract(supernet, supernet.space.largest())

    def _begin(self, arch: Arch) -> ElasticViT:
        """The subnet with the weights that retraining begins with."""
        source, backbone = self.config.retrain.weights, self.config.backbone
        if source == "inherited":
            return extract(self.setup.supernet, arch)
        if source == "scratch":
            backbone = replace(backbone, checkpoint=None, pretrained=False)
        loaded = load_backbone(backbone, self.setup.task, self.config.seed).backbone
        return subnet_of(loaded, self.setup.supernet.shape, arch).to(self.setup.device)
