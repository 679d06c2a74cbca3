"""What every stage of a run works with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from search.config import Config
from search.folder import RunFolder
from space.errors import InputError
from space.space import SearchSpace
from supernet.backbone import backbone_shape
from supernet.data import Data, open_data
from supernet.evaluation import HeldOut
from supernet.image_check import check_images
from supernet.model import Supernet
from supernet.parallel import Processes
from supernet.pretrained import load_backbone
from supernet.sources import open_sources
from supernet.task import Classification
from supernet.weights import load_weights

WEIGHTS = "supernet.safetensors"
GOOD_IMAGES = "good_images.bin"
Loaded = Callable[[int, int], None]
TRAINED = ("backbone", "data", "space", "supernet")


@dataclass(frozen=True)
class Setup:
    """What the stages of a run work with.

    Args:
        task: what the networks are trained and judged for.
        data: the splits.
        supernet: with the backbone's weights, on the device.
        head_reset: whether the backbone's weights know other classes than the data.
        device: where everything runs.
    """

    task: Classification
    data: Data
    supernet: Supernet
    head_reset: bool
    device: torch.device

    def held_out(self, amp: bool = True, loaded: Loaded | None = None) -> HeldOut:
        """The search split on the device; `loaded` is told how many images have come, of all."""
        return HeldOut(_told(self.data.search, loaded), self.task, self.device, amp)

    def check_images(self, folder: RunFolder) -> None:
        """Open the image files of all splits, but for those that the run knows to be good.

        It is for the command to call, not for the processes that work for it.

        Raises:
            InputError: images cannot be read: how many, and the first of them.
        """
        data: Any = self.data
        splits = data.train.images, data.search.dataset, data.test.dataset
        check_images(splits, folder.path / GOOD_IMAGES)


def _told(batches: Any, loaded: Loaded | None) -> Iterator[Any]:
    """Batches of a loader, of which it is told how many images have come."""
    done, total = 0, len(batches.dataset)
    for batch in batches:
        done += len(batch[0])
        if loaded is not None:
            loaded(done, total)
        yield batch


def prepare(config: Config, folder: RunFolder) -> Setup:
    """Open data and backbone, and check all that can be checked before long work starts.

    Raises:
        InputError: what is wrong, where, and what would be right.
    """
    device = find_device(config.device)
    sources = open_sources(config.data.dataset)
    augment = config.data.augment
    task = Classification(
        sources[0].classes,
        augment.smoothing,
        augment.mixup,
        augment.cutmix,
        augment.mix_prob,
        augment.switch_prob,
    )
    task.check_batch(config.data.batch)
    backbone, head_reset = load_backbone(config.backbone, task, config.seed)
    space = SearchSpace.from_dict(config.space, backbone_shape(backbone))
    data = open_data(config.data, backbone, config.seed, folder.split(), sources)
    supernet = Supernet(backbone, space).to(device)
    return Setup(task, data, supernet, head_reset, device)


def trained(config: Config, file: Path | None, device: str | None = None) -> Setup:
    """The setup with the weights of the trained supernet, for a process that works for a command.

    Args:
        config, file: of the run.
        device: another one than the config's.

    Raises:
        InputError: it is not trained yet, or by other values.
    """
    folder = RunFolder(config, file)
    check_trained(folder)
    return load_trained(prepare(replace(config, device=device or config.device), folder), folder)


def check_trained(folder: RunFolder) -> None:
    """Refuse a run whose supernet is not trained yet.

    Raises:
        InputError: its weights are not there.
    """
    weights = folder.stage("supernet") / WEIGHTS
    if not weights.exists():
        raise InputError(f"{weights}: not there; train first: tokennas train CONFIG")


def load_trained(setup: Setup, folder: RunFolder) -> Setup:
    """The setup, whose supernet gets the weights that a run has trained.

    Raises:
        InputError: they were trained by other values, or their file is not right.
    """
    folder.check("supernet", TRAINED)
    load_weights(setup.supernet, folder.stage("supernet") / WEIGHTS)
    setup.supernet.eval()
    return setup


def find_device(name: str) -> torch.device:
    """The device of that name; `auto` is a GPU where there is one.

    Raises:
        InputError: there is no such device.
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
        raise InputError(f"device: {name!r} is not there; give auto, cpu, cuda or cuda:N") from None
    return device
