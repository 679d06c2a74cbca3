"""The `data` section of a config: splits, transforms, and what of them a run reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

import numpy as np
import torch
from timm.data import create_transform, resolve_data_config
from timm.models.vision_transformer import VisionTransformer
from torch.utils.data import DataLoader

from space.errors import InputError, shown
from supernet.batches import Images, Indices, ShuffledBatches, evaluation_loader
from supernet.parallel import Processes
from supernet.sources import DatasetConfig, Source, open_sources

Interpolation = Literal["nearest", "bilinear", "bicubic", "box", "hamming", "lanczos"]
LOOK = ("input_size", "interpolation", "mean", "std", "crop_pct", "crop_mode")


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
class InputConfig:
    """What an image is made into for the network; what is none is the backbone's own.

    Args:
        mean: of each channel, subtracted from pixels in 0..1.
        std: of each channel, by which they are divided then.
        interpolation: of resizing: `bilinear`, `bicubic`, ...
        crop_pct: share of each side that the centre crop of evaluation keeps.
    """

    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    interpolation: Interpolation | None = None
    crop_pct: float | None = None

    def __post_init__(self) -> None:
        if self.interpolation not in (None, *get_args(Interpolation)):
            names = ", ".join(get_args(Interpolation))
            raise InputError(
                f"data.input.interpolation: must be one of {names}, got {shown(self.interpolation)}"
            )
        for name, least, most in (("mean", 0.0, 1.0), ("std", 1e-3, 1.0), ("crop_pct", 0.1, 1.0)):
            given = getattr(self, name)
            values = given if isinstance(given, tuple) else (given,)
            if any(value is not None and not least <= value <= most for value in values):
                raise InputError(
                    f"data.input.{name}: must lie in {least:g} to {most:g}, got {given}"
                )


@dataclass(frozen=True)
class DataConfig:
    """Data set, splits and batches.

    Args:
        dataset: what to read.
        input: what an image is made into.
        augment: augmentation in training.
        batch: images of a training step, of each process where several train together.
        eval_batch: images of a batch in evaluation.
        workers: processes that load images.
        search_share: share of the training split that is cut off to rank archs; stratified.
        search_limit: cut off so many images at most: they stay on the device during a search.
        train_limit: use so many training images at most, before the cut; for trying things out.
        test_limit: use so many test images at most.
    """

    dataset: DatasetConfig = field(default_factory=DatasetConfig)
    input: InputConfig = field(default_factory=InputConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    batch: int = 128
    eval_batch: int = 256
    workers: int = 2
    search_share: float = 0.1
    search_limit: int = 20_000
    train_limit: int | None = None
    test_limit: int | None = None

    def __post_init__(self) -> None:
        limits = ("search_limit", "train_limit", "test_limit")
        for name in ("batch", "eval_batch", "workers", *limits):
            value, least = getattr(self, name), 0 if name == "workers" else 1
            if value is not None and value < least:
                raise InputError(f"data.{name}: must be at least {least}, got {value}")
        if not 0 < self.search_share < 1:
            raise InputError(f"data.search_share: must lie in (0, 1), got {self.search_share}")


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
    sources: tuple[Source, Source] | None = None,
) -> Data:
    """Open the data for a backbone: its input size, mean, std, crop and interpolation.

    Args:
        config: the `data` section.
        backbone: decides what an image looks like.
        seed: of the order, the augmentation and the cut of the search split.
        search_indices: the search split that a run has stored; cut anew where None.
        sources: training and test split, where they are open already.

    Raises:
        InputError: the data is not right; see `open_sources`.
    """
    train, test = sources or open_sources(config.dataset)
    look = _look(config.input, backbone)
    pool, held = cut(train.targets, config, seed, search_indices)
    processes = Processes.current()
    if len(pool) < config.batch * processes.count:
        times = f" for each of {processes.count} processes" if processes.count > 1 else ""
        raise InputError(
            f"data.batch: {config.batch}{times} is more than the {len(pool)} training images left"
        )
    plain = create_transform(**{key: look[key] for key in LOOK})
    augmented = create_transform(
        **{key: look[key] for key in LOOK}, is_training=True, **_augmentation(config.augment)
    )
    pin = torch.cuda.is_available()
    tests = np.arange(len(test))[: config.test_limit]
    # In an order of chance: the first images are to stand for all of them.
    shuffled = np.random.default_rng((seed, 0x5EA)).permutation(held)
    return Data(
        classes=train.classes,
        train=ShuffledBatches(
            Images(train, pool, augmented, seed),
            config.batch,
            config.workers,
            pin,
            processes,
        ),
        search=evaluation_loader(
            Images(train, shuffled, plain, seed), config.eval_batch, config.workers
        ),
        test=evaluation_loader(Images(test, tests, plain, seed), config.eval_batch, config.workers),
        search_indices=held,
        input={"size": list(look["input_size"])} | {key: _plain(look[key]) for key in LOOK[1:]},
    )


def _look(config: InputConfig, backbone: VisionTransformer) -> dict[str, Any]:
    """timm's settings of an image: the config's before the backbone's own."""
    given = {key: value for key, value in asdict(config).items() if value is not None}
    for key in {"mean", "std"} & set(given):
        if len(given[key]) != backbone.in_chans:
            raise InputError(
                f"data.input.{key}: must have {backbone.in_chans} values, one for each channel, "
                f"got {len(given[key])}"
            )
    look = dict(resolve_data_config(given, model=backbone, verbose=False))
    look["input_size"] = (backbone.in_chans, *backbone.patch_embed.img_size)
    return look


def cut(
    targets: Indices, config: DataConfig, seed: int, held: Sequence[int] | None
) -> tuple[Indices, Indices]:
    """Indices to train on, and those held out for the search: a share of each class."""
    rng = np.random.default_rng((seed, 0xC07))
    limit = config.train_limit or len(targets)
    pool = np.sort(rng.permutation(len(targets))[:limit])
    share = min(config.search_share, config.search_limit / len(pool))
    if held is None:
        held = [
            index
            for label in np.unique(targets[pool])
            for members in [rng.permutation(pool[targets[pool] == label])]
            for index in members[: round(share * len(members))]
        ]
    if not all(0 <= index < len(targets) for index in held):
        raise InputError(
            f"the stored search split is of other data: it has images beyond the {len(targets)} "
            "that there are"
        )
    chosen = np.sort(np.asarray(held, dtype=np.int64))
    if not len(chosen):
        raise InputError(
            f"data.search_share: {config.search_share} of {len(pool)} training images leaves no "
            "image to rank archs on"
        )
    return np.setdiff1d(pool, chosen), chosen


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
