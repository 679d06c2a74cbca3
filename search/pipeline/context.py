"""The context of a run: the objects that its stages share, each opened on first use."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import track

from search.latency.costs import make_problem
from search.latency.table import LatencyTable
from search.pipeline.config import Config, RetrainConfig, SupernetConfig
from search.pipeline.latencies import choose_tables
from search.pipeline.run_folder import SPLIT, RunFolder
from search.problem.problem import Problem
from search.utils.console import new_console
from space.space import SearchSpace
from space.utils.errors import InputError
from space.utils.reader import Reader
from supernet.backbones.load import Loaded, load_backbone
from supernet.backbones.vit import backbone_shape
from supernet.config import Amp
from supernet.data.image_check import check_images, check_training_maps
from supernet.data.source import Source
from supernet.data.sources import open_sources
from supernet.data.splits import Data, OtherDataError, open_data
from supernet.evaluation import HeldOut
from supernet.models.supernet import Supernet
from supernet.precision import decide_autocast, fast_devices
from supernet.process_group import Processes
from supernet.tasks.base import Task
from supernet.tasks.registry import task_class
from supernet.training.checkpoint import CHECKPOINT
from supernet.weights import load_weights

WEIGHTS = "supernet.safetensors"
GOOD_IMAGES = "good_images.bin"
# Config sections that a supernet's weights depend on.
SUPERNET_SECTIONS = ("backbone", "data", "task", "space", "supernet")


class RunContext:
    """A run: its config, its folder, and the objects that its stages share.

    Each property may raise an InputError, as it opens its object on first use.

    Args:
        config: The run's config.
        file: The config's file; None where it has none.
        quiet: Whether the stages' messages are dropped; by default they go to standard output.
        fast: `fast_devices` of the machine that decides on autocast; None for this one.
    """

    def __init__(
        self,
        config: Config,
        file: Path | None,
        quiet: bool = False,
        fast: frozenset[str] | None = None,
    ) -> None:
        self.config = config
        self.file = file
        self._fast = fast
        self.folder = RunFolder(config, file)
        self.console = Console(quiet=True) if quiet else new_console()
        self._is_trained = False

    def __reduce__(self) -> tuple[Any, ...]:
        # Open objects are not pickled: another process opens its own, and is quiet. It takes this
        # machine's decision on autocast, so that different nodes compute in the same precision.
        fast = fast_devices() if self._fast is None else self._fast
        return RunContext, (self.config, self.file, True, fast)

    def open(self) -> RunContext:
        """Open data, backbone and supernet, before long work starts."""
        for name in ("device", "task", "space", "data", "supernet"):
            getattr(self, name)
        return self

    @cached_property
    def device(self) -> torch.device:
        """The device of the run."""
        return find_device(self.config.device)

    @cached_property
    def task(self) -> Task:
        """The task of the networks."""
        config, name = self.config, self.config.task_name
        section, kind = Reader({"name": name, **config.task}, ("task",)), task_class(name)
        classes = () if kind.dense else self._sources[0].classes
        task = kind.from_config(section, classes, config.data)
        task.check_batch(config.data.batch)
        return task

    @cached_property
    def space(self) -> SearchSpace:
        """The search space."""
        shape = backbone_shape(self._loaded.backbone)
        return SearchSpace.from_dict(self.config.space, shape, self.task.rules)

    @cached_property
    def data(self) -> Data:
        """The training, search and test splits."""
        config, backbone = self.config, self._loaded.backbone
        split, sources, task = self.folder.split(), self._sources, self.task
        if split is not None:
            self.folder.check_images(self.images_digest)
        try:
            return open_data(config.data, backbone, config.seed, split, sources, task=task)
        except OtherDataError as error:
            raise InputError(
                f"{self.folder.path}: {error}; give the data of that run, or begin another run "
                "with --run"
            ) from None

    @cached_property
    def images_digest(self) -> str:
        """The digest of the names and labels of all training images."""
        return self._sources[0].list_digest()

    @cached_property
    def supernet(self) -> Supernet:
        """The supernet on the device; its weights are the backbone's until `load_trained`."""
        return Supernet(self._loaded.backbone, self.space).to(self.device)

    @property
    def supernet_recipe(self) -> SupernetConfig:
        """The supernet's recipe; by default, a tenth are `full_epochs` if the head is new."""
        recipe = self.config.supernet
        if recipe.full_epochs is not None:
            return recipe
        tenth = min(-(-recipe.epochs // 10), recipe.epochs - 1)
        return replace(recipe, full_epochs=tenth if self.has_new_head else 0)

    @property
    def has_new_head(self) -> bool:
        """Whether a new head replaced that of the backbone's weights, or they have none."""
        return self._loaded.head_reset

    def retrain_recipe(self, folder: Path) -> RetrainConfig:
        """Return the recipe of retraining in a folder; on workers, with the decision on autocast.

        A training that has begun keeps its own.
        """
        recipe = self.config.retrain
        if self._fast is None or (folder / CHECKPOINT).exists():
            return recipe
        return replace(recipe, amp=self.decide_autocast(recipe.amp))

    def decide_autocast(self, amp: Amp) -> bool:
        """Decide whether the run's networks are evaluated under bfloat16 autocast."""
        return decide_autocast(amp, self.device, self.space.shape.width, self._fast).on

    @cached_property
    def _sources(self) -> tuple[Source, Source]:
        return open_sources(self.config.data.dataset)

    @cached_property
    def _loaded(self) -> Loaded:
        return load_backbone(self.config.backbone, self.task, self.config.seed)

    @property
    def arch_file_fields(self) -> dict[str, Any]:
        """Backbone, input, classes and task, in the format of arch files."""
        backbone, task = self.config.backbone, self.task
        args = {**backbone.args, "num_classes": task.outputs}
        return {
            "backbone": {"model": backbone.model, "args": args},
            "input": self.data.input,
            "classes": list(task.classes),
            "task": task.section(),
        }

    def load_trained(self) -> RunContext:
        """Load the trained weights into the supernet, unless they are loaded already.

        Raises:
            InputError: The supernet is not trained yet, or was trained with other values.
        """
        weights = self.folder.path / "supernet" / WEIGHTS
        if not self._is_trained:
            if not weights.exists():
                raise InputError(f"{weights}: missing; run `tokennas train CONFIG` first")
            self.open()
            self.folder.check("supernet", SUPERNET_SECTIONS)
            load_weights(self.supernet, weights)
            self.supernet.eval()
            self._is_trained = True
        return self

    @cached_property
    def weights_digest(self) -> str:
        """The digest of the trained supernet's weights."""
        return digest(self.folder.path / "supernet" / WEIGHTS)

    @property
    def origin(self) -> dict[str, str]:
        """Digests of the supernet's weights and the search split, on which evaluations depend."""
        origin = {"supernet": self.weights_digest, "split": digest(self.folder.path / SPLIT)}
        if self.task.dense:  # their targets are files, which the split's digest does not cover
            images: Any = self.data.search.dataset
            origin["maps"] = images.source.maps_digest(images.indices.tolist())
        return origin

    @cached_property
    def latency_tables(self) -> tuple[LatencyTable, ...]:
        """The latency tables that budgets and objectives need."""
        return choose_tables(self.folder)

    @cached_property
    def problem(self) -> Problem:
        """The search problem: space, objectives and budget."""
        return self.problem_within(self.config.search.budget)

    def problem_within(self, budget: str | list[str] | None) -> Problem:
        """Return the search problem with another budget."""
        objectives, directions = self.config.search.objectives, self.task.directions
        return make_problem(self.space, objectives, budget, directions, self.latency_tables)

    def search_batches(self) -> Iterable[Any]:
        """Iterate over the batches of the search split, with a progress bar."""
        batches, hidden = self.data.search, not self.console.is_terminal
        return track(batches, "images", console=self.console, transient=True, disable=hidden)

    def load_search_split(self, amp: bool) -> HeldOut:
        """Load the search split onto the device.

        Args:
            amp: Whether networks run under bfloat16 autocast.
        """
        return HeldOut(self.search_batches(), self.task, self.device, amp)

    @cached_property
    def test(self) -> HeldOut:
        """The test split on the device; networks run in float32, see `HeldOut.with_amp`."""
        return HeldOut(self.data.test, self.task, self.device)

    def check_images(self) -> None:
        """Open the files of all splits, except those that the run has checked before.

        Only the main process should call this, not workers.

        Raises:
            InputError: Some images cannot be read; the message has their number and the first ones.
                Or the training maps teach nothing.
        """
        data: Any = self.data
        splits = data.train.images, data.search.dataset, data.test.dataset
        check_images(splits, self.folder.path / GOOD_IMAGES)
        check_training_maps(data.train.images, self.task)


def digest(path: Path) -> str:
    """Hash a file to 16 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def find_device(name: str) -> torch.device:
    """Return the device of a name; `auto` is a GPU where there is one.

    Raises:
        InputError: The device does not exist.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        if name == "cuda" and Processes.current().count > 1:
            # Each process of a node has a GPU of its own.
            name = f"cuda:{torch.cuda.current_device()}"
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError):
        raise InputError(
            f"device: {name!r} is not available; give auto, cpu, cuda or cuda:N"
        ) from None
    return device
