"""Splits, transforms and batches. What an image looks like is a function of (seed, epoch, image).

So a run that was interrupted goes on exactly: the sampler starts at any step of an epoch, and each
sample seeds all generators before it is augmented, in whichever worker.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from timm.data import create_transform, resolve_data_config
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from space.errors import InputError
from supernet.sources import DatasetConfig, Source, open_sources

LOOK = ("input_size", "interpolation", "mean", "std", "crop_pct")

Indices = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True)
class AugmentConfig:
    """Augmentation in training, timm's.

    Args:
        crop_scale: least and greatest share of the area of a random resized crop.
        hflip: probability of a horizontal flip.
        color_jitter: strength; 0 turns it off.
        auto_augment: timm's policy string, such as `rand-m9-mstd0.5-inc1`; none turns it off.
        erasing: probability of random erasing.
        smoothing: label smoothing.
        mixup: alpha of mixup; 0 turns it off.
        cutmix: alpha of CutMix; 0 turns it off.
        mix_prob: share of the batches that are mixed.
        switch_prob: share of CutMix where both are on.
    """

    crop_scale: tuple[float, float] = (0.35, 1.0)
    hflip: float = 0.5
    color_jitter: float = 0.0
    auto_augment: str | None = None
    erasing: float = 0.0
    smoothing: float = 0.1
    mixup: float = 0.0
    cutmix: float = 0.0
    mix_prob: float = 1.0
    switch_prob: float = 0.5


@dataclass(frozen=True)
class DataConfig:
    """Data set, splits and batches.

    Args:
        dataset: what to read.
        augment: augmentation in training.
        batch: images of a training step.
        eval_batch: images of a batch in evaluation.
        workers: processes that load images.
        search_share: share of the training split that is cut off to rank archs; stratified.
        train_limit: use so many training images at most, before the cut; for trying things out.
        test_limit: use so many test images at most.
    """

    dataset: DatasetConfig = field(default_factory=DatasetConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    batch: int = 128
    eval_batch: int = 256
    workers: int = 2
    search_share: float = 0.1
    train_limit: int | None = None
    test_limit: int | None = None


class Batch(NamedTuple):
    """Images of a step.

    Args:
        images: (B, C, H, W).
        targets: (B,).
        draws: a uniform number for each sample and epoch, (B,); None from a user's own loader.
    """

    images: Tensor
    targets: Tensor
    draws: Tensor | None


class Batches(Protocol):
    """Training batches, epoch by epoch; `steps` of them each, from any step on if `exact`."""

    steps: int
    exact: bool

    def epoch(self, epoch: int, first: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from step `first` on."""


class Images(Dataset[tuple[Tensor, int, float]]):
    """Some images of a source through a transform; a key is (epoch, place), -1 for evaluation."""

    def __init__(self, source: Source, indices: Indices, transform: Any, seed: int) -> None:
        self.source = source
        self.indices = indices
        self.transform = transform
        self.seed = seed

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, int, float]:
        epoch, place = key
        index = int(self.indices[place])
        draw = 0.0
        if epoch >= 0:
            draw = float(seed_all(self.seed, epoch, index).random())
        image: Tensor = self.transform(self.source.read(index))
        return image, int(self.source.targets[index]), draw


class ShuffledBatches:
    """Training batches in an order that is a function of (seed, epoch), whole ones only."""

    exact = True

    def __init__(self, images: Images, batch: int, workers: int, pin: bool = False) -> None:
        self.images = images
        self.batch = batch
        self.workers = workers
        self.pin = pin
        self.steps = len(images) // batch

    def epoch(self, epoch: int, first: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from step `first` on."""
        order = np.random.default_rng((self.images.seed, epoch)).permutation(len(self.images))
        batches = [
            [(epoch, int(place)) for place in order[step * self.batch : (step + 1) * self.batch]]
            for step in range(first, self.steps)
        ]
        for images, targets, draws in _loader(self.images, batches, self.workers, self.pin):
            yield Batch(images, targets, draws)


class UserBatches:
    """A user's own loader of (images, targets); it goes on at epoch boundaries."""

    exact = False

    def __init__(self, loader: Any) -> None:
        self.loader = loader
        self.steps = len(loader)

    def epoch(self, epoch: int, first: int = 0) -> Iterator[Batch]:
        """All batches of an epoch; a sampler with `set_epoch` is told which."""
        assert first == 0
        set_epoch = getattr(getattr(self.loader, "sampler", None), "set_epoch", None)
        if set_epoch is not None:
            set_epoch(epoch)
        for images, targets, *_ in self.loader:
            yield Batch(images, targets, None)


@dataclass(frozen=True)
class Data:
    """All that a run reads: training batches, and the search and test splits to evaluate on."""

    classes: tuple[str, ...]
    train: ShuffledBatches
    search: DataLoader[Any]
    test: DataLoader[Any]
    search_indices: Indices
    input: dict[str, Any]


def open_data(
    config: DataConfig,
    backbone: VisionTransformer,
    seed: int,
    search_indices: Sequence[int] | None = None,
) -> Data:
    """Open the data for a backbone: its input size, mean, std, crop and interpolation.

    Args:
        config: the `data` section.
        backbone: decides what an image looks like.
        seed: of the order, the augmentation and the cut of the search split.
        search_indices: the search split that a run has stored; cut anew where None.

    Raises:
        InputError: the data is not right; see `open_sources`.
    """
    train, test = open_sources(config.dataset)
    look = resolve_data_config(model=backbone, verbose=False)
    look["input_size"] = (backbone.in_chans, *backbone.patch_embed.img_size)
    pool, held = cut(train.targets, config, seed, search_indices)
    if len(pool) < config.batch:
        raise InputError(
            f"data.batch: {config.batch} is more than the {len(pool)} training images left"
        )
    plain = create_transform(**{key: look[key] for key in LOOK})
    augmented = create_transform(
        **{key: look[key] for key in LOOK}, is_training=True, **_augmentation(config.augment)
    )
    pin = torch.cuda.is_available()
    tests = np.arange(len(test))[: config.test_limit]
    return Data(
        classes=train.classes,
        train=ShuffledBatches(
            Images(train, pool, augmented, seed), config.batch, config.workers, pin
        ),
        search=evaluation_loader(Images(train, held, plain, seed), config),
        test=evaluation_loader(Images(test, tests, plain, seed), config),
        search_indices=held,
        input={"size": list(look["input_size"])} | {key: _plain(look[key]) for key in LOOK[1:]},
    )


def cut(
    targets: Indices, config: DataConfig, seed: int, held: Sequence[int] | None
) -> tuple[Indices, Indices]:
    """Indices to train on, and those held out for the search: a share of each class."""
    rng = np.random.default_rng((seed, 0xC07))
    limit = config.train_limit or len(targets)
    pool = np.sort(rng.permutation(len(targets))[:limit])
    if held is None:
        held = [
            index
            for label in np.unique(targets[pool])
            for members in [rng.permutation(pool[targets[pool] == label])]
            for index in members[: round(config.search_share * len(members))]
        ]
    chosen = np.sort(np.asarray(held, dtype=np.int64))
    if not len(chosen):
        raise InputError(
            f"data.search_share: {config.search_share} of {len(pool)} training images leaves no "
            "image to rank archs on"
        )
    return np.setdiff1d(pool, chosen), chosen


def evaluation_loader(images: Images, config: DataConfig) -> DataLoader[Any]:
    """Batches of (images, targets, 0) in order, without augmentation."""
    places = [(-1, place) for place in range(len(images))]
    batches = [
        places[start : start + config.eval_batch]
        for start in range(0, len(places), config.eval_batch)
    ]
    return _loader(images, batches, config.workers, torch.cuda.is_available())


def seed_all(*key: int) -> np.random.Generator:
    """Seed every global generator from a key; the generator returned is seeded likewise."""
    words = np.random.SeedSequence(key).generate_state(4)
    random.seed(int(words[0]))
    np.random.seed(words[1])
    torch.manual_seed(int(words[2]))
    return np.random.default_rng(int(words[3]))


def _loader(
    images: Images, batches: list[list[tuple[int, int]]], workers: int, pin: bool
) -> DataLoader[Any]:
    # Loading must not touch the generators of the process that trains.
    generator = torch.Generator().manual_seed(0)
    return DataLoader(
        images,
        batch_sampler=batches,
        num_workers=workers,
        pin_memory=pin,
        generator=generator,
        collate_fn=_collate,
    )


def _collate(samples: list[tuple[Tensor, int, float]]) -> tuple[Tensor, Tensor, Tensor]:
    images, targets, draws = zip(*samples, strict=True)
    return torch.stack(images), torch.tensor(targets), torch.tensor(draws, dtype=torch.float64)


def _augmentation(config: AugmentConfig) -> dict[str, Any]:
    return {
        "scale": config.crop_scale,
        "hflip": config.hflip,
        "color_jitter": config.color_jitter,
        "auto_augment": config.auto_augment,
        "re_prob": config.erasing,
        "re_mode": "pixel",
    }


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
