"""Stage four: chosen subnets, the full network and hand-made archs, retrained the same way."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from rich.console import Console
from torch import nn

from search.budget import parse_budget
from search.config import Config
from search.folder import RunFolder
from search.front import Front
from search.stages.exporting import load_front, write_arch
from search.stages.places import ARCH, STARTED, take
from search.stages.setup import Setup, trained
from search.stages.speed import images_per_second
from space.arch import Arch
from space.baselines import baselines
from space.cost import macs, params
from space.errors import InputError
from space.files import load_arch, load_arch_file
from space.writing import writing
from supernet.elastic import ElasticViT
from supernet.evaluation import HeldOut
from supernet.extraction import create_subnet, extract, subnet_of
from supernet.pretrained import load_backbone
from supernet.retraining import retrain as train_subnet
from supernet.weights import save_weights

WEIGHTS = "subnet.safetensors"
SPEED = "images_per_second"


@dataclass(frozen=True)
class Choice:
    """A network to retrain.

    Args:
        name: what people call it: `50%`.
        arch: what it is.
    """

    name: str
    arch: Arch

    @property
    def folder(self) -> str:
        """The name without what a shell would take for its own: `baseline_two_pools_50`."""
        return re.sub(r"[^\w.-]+", "_", self.name.replace("%", ""))


def retrain(
    config: Config, file: Path | None, archs: list[str], console: Console
) -> list[dict[str, Any]]:
    """Retrain the front's best within each budget, or the given arch files; a row for each.

    Raises:
        InputError: there is no front, no subnet within a budget, or an arch file is not right.
    """
    folder = RunFolder(config, file)
    setup = trained(config, file)
    if archs:
        choices = [Choice(Path(path).stem, load_arch(path)) for path in archs]
        for path, choice in zip(archs, choices, strict=True):
            reasons = setup.supernet.space.violations(choice.arch)
            if reasons:
                raise InputError(f"{path}: not in the space of this run: {reasons[0]}")
    else:
        choices = list(choose(config, load_front(folder, config), setup))
    one, places = _Retraining(config, setup, folder), {}
    for choice in choices:
        stage, space = stage_of(config, choice), setup.supernet.space
        place, finished = take(folder, stage, choice.arch, space, console)
        if not finished:
            one.run(choice, place)
        places[choice.name] = place
    one.measure_speeds(places)
    return [_row(choice, places[choice.name] / ARCH) for choice in choices]


def stage_of(config: Config, choice: Choice) -> str:
    """The stage of the run whose folder a choice has."""
    return f"retrain/{config.search.name}/{choice.folder}"


def choose(config: Config, front: Front, setup: Setup) -> Iterator[Choice]:
    """The full network, the front's best within each budget, and hand-made archs of the same.

    Raises:
        InputError: the front has nothing within a budget.
    """
    space, wanted = setup.supernet.space, config.retrain
    if wanted.full:
        yield Choice("full", space.largest())
    seen = {space.largest()}
    for budget in wanted.budgets:
        limit = parse_budget(f"macs={budget}", space).limits[0].most
        best = front.best(macs=limit)
        if best is None:
            least = min((entry.metrics["macs"] for entry in front.entries), default=None)
            raise InputError(
                f"retrain.budgets: the front has no subnet within {budget}; its smallest has "
                f"{least} MACs; search longer, or with a budget of macs={budget}"
            )
        if best.arch not in seen:
            seen.add(best.arch)
            yield Choice(budget, best.arch)
        for baseline in baselines(space, macs=limit) if wanted.baselines else ():
            if baseline.arch is not None and baseline.arch not in seen:
                seen.add(baseline.arch)
                yield Choice(f"baseline {baseline.name} {budget}", baseline.arch)


@dataclass(frozen=True)
class _Retraining:
    """Retrains one choice after the other."""

    config: Config
    setup: Setup
    folder: RunFolder

    def run(self, choice: Choice, place: Path) -> None:
        """Train, judge on the test split, and write weights and arch file."""
        config, setup, recipe = self.config, self.setup, self.config.retrain
        inherited = extract(setup.supernet, choice.arch).eval()
        metrics: dict[str, Any] = {"inherited": self._test.measure(inherited)}
        metrics["test_images"] = len(setup.data.test.dataset)  # type: ignore[arg-type]
        origin = {"choice": choice.name, "weights": recipe.weights}
        write_arch(place / STARTED, choice.arch, setup, config, self.folder, origin=origin)
        subnet = train_subnet(
            self._begin(choice.arch),
            setup.data.train,
            task=setup.task,
            recipe=recipe,
            held_out=setup.held_out(recipe.amp),
            teacher=self._teacher(),
            folder=place,
            seed=config.seed,
            title=f"retrain {choice.name}",
        )
        save_weights(subnet, place / WEIGHTS)
        metrics["retrained"] = self._test.measure(subnet)
        # Written last: this arch file says that its folder is complete.
        write_arch(
            place / ARCH, choice.arch, setup, config, self.folder, metrics=metrics, origin=origin
        )
        with writing(place / STARTED):
            (place / STARTED).unlink()

    def measure_speeds(self, places: Mapping[str, Path]) -> None:
        """Images/s of all, beside each other, into their arch files; once."""
        files = {name: load_arch_file(place / ARCH) for name, place in places.items()}
        if all(SPEED in file.metrics for file in files.values()):
            return
        setup = self.setup
        subnets = {
            name: create_subnet(place / ARCH, place / WEIGHTS).to(setup.device).eval()
            for name, place in places.items()
        }
        for name, speed in images_per_second(subnets, self.config.retrain.amp).items():
            write_arch(
                places[name] / ARCH,
                files[name].arch,
                setup,
                self.config,
                self.folder,
                metrics={**files[name].metrics, SPEED: speed},
                origin=files[name].origin,
            )

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


def _row(choice: Choice, path: Path) -> dict[str, Any]:
    file = load_arch_file(path)
    inherited, retrained = file.metrics["inherited"], file.metrics["retrained"]
    return {
        "network": choice.name,
        "top1 inherited": inherited["top1"],
        "top1 retrained": retrained["top1"],
        "MACs": macs(file.arch, file.shape),
        "parameters": params(file.arch, file.shape),
        "images/s": file.metrics[SPEED]["value"],
    }
