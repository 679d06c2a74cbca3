"""The sections `backbone` and `data` of a config; imports no torch, so that --help is fast."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from space.utils.errors import InputError, check_one_of

Interpolation = Literal["nearest", "bilinear", "bicubic", "box", "hamming", "lanczos"]
# Whether to use bfloat16 autocast; `auto` where it is faster, see `supernet.precision`.
Amp = Literal["auto"] | bool


@dataclass(frozen=True)
class BackboneConfig:
    """A timm VisionTransformer.

    Args:
        model: Name of a timm model.
        args: Arguments for `timm.create_model`, such as `img_size` or `drop_path_rate`.
        checkpoint: Local file of weights: .safetensors or a torch file; null for none.
        pretrained: Whether to download timm's weights.
    """

    model: str = "vit_tiny_patch16_224"
    args: dict[str, Any] = field(default_factory=dict)
    checkpoint: str | None = None
    pretrained: bool = False


@dataclass(frozen=True)
class DatasetConfig:
    """A data set.

    Args:
        name: `digits`, `folder` (image folders or a tar file), or a name of timm's `create_dataset`
            such as `torch/cifar10` or `hfds/user/name`.
        root: Folder of the data; null for `digits`.
        train_split: Name of the training split.
        test_split: Name of the test split, used only for final metrics; no image is in both splits.
        args: More arguments for `create_dataset`, such as `download: true`.
    """

    name: str = "digits"
    root: str | None = None
    train_split: str = "train"
    test_split: str = "validation"
    args: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class AugmentConfig:
    """The augmentation of training images, by timm.

    Args:
        crop_scale: Least and greatest share of an image's area in a random resized crop.
        hflip: Probability of a horizontal flip.
        color_jitter: Strength of colour jitter; 0 turns it off.
        auto_augment: timm's policy string, such as `rand-m9-mstd0.5-inc1`; null for none.
        erasing: Probability of random erasing.
        smoothing: Label smoothing.
        mixup: Alpha of mixup; 0 turns it off.
        cutmix: Alpha of CutMix; 0 turns it off.
        mix_prob: Probability that a batch is mixed.
        switch_prob: Probability of CutMix instead of mixup, if both are on.
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

    def __post_init__(self) -> None:
        for name in ("hflip", "erasing", "smoothing", "mix_prob", "switch_prob"):
            if not 0 <= getattr(self, name) <= 1:
                value = getattr(self, name)
                raise InputError(f"data.augment.{name}: must lie in 0 to 1, got {value}")
        for name in ("color_jitter", "mixup", "cutmix"):
            if not 0 <= getattr(self, name) < math.inf:
                value = getattr(self, name)
                raise InputError(f"data.augment.{name}: must be finite and at least 0, got {value}")
        if not 0 < self.crop_scale[0] <= self.crop_scale[1] <= 1:
            raise InputError(
                f"data.augment.crop_scale: must be two ascending shares of 0 to 1, got "
                f"{list(self.crop_scale)}"
            )


@dataclass(frozen=True)
class InputConfig:
    """The preprocessing of images; null takes the value of the backbone's timm config.

    Args:
        mean: Mean of each channel, for pixels in 0..1.
        std: Standard deviation of each channel, likewise.
        interpolation: Interpolation of resizing, such as `bilinear` or `bicubic`.
        crop_pct: Share of each side that the centre crop of evaluation keeps.
    """

    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    interpolation: Interpolation | None = None
    crop_pct: float | None = None

    def __post_init__(self) -> None:
        if self.interpolation is not None:
            check_one_of("data.input.interpolation:", self.interpolation, get_args(Interpolation))
        for name, least, most in (("mean", 0.0, 1.0), ("std", 1e-3, 1.0), ("crop_pct", 0.1, 1.0)):
            value = getattr(self, name)
            values = value if isinstance(value, tuple) else (value,)
            if any(each is not None and not least <= each <= most for each in values):
                raise InputError(
                    f"data.input.{name}: must lie in {least:g} to {most:g}, got {value}"
                )


@dataclass(frozen=True)
class DataConfig:
    """The data set, its splits and batches.

    Args:
        dataset: The data set.
        input: Preprocessing of images.
        augment: Augmentation in training.
        batch: Batch size of training, per process.
        eval_batch: Batch size of evaluation.
        workers: Worker processes that load images.
        search_share: Share of the training split held out to rank archs, stratified.
        search_limit: Greatest number of held-out images, which stay on the device during a search.
        train_limit: Greatest number of training images, held-out ones included; for quick trials.
        test_limit: Greatest number of test images, the same for all seeds.
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
