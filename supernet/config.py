"""The sections `backbone` and `data` of a config; imports no torch, so that --help is fast."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from space.utils.errors import InputError, check_one_of

MAX_ROTATION = 180

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
            such as `torch/cifar10` or `hfds/user/name`. For the tasks depth and segmentation:
            `pairs` (an image and a map, in files that belong together by name) or `nyu` (NYU Depth
            V2's labelled .mat file, with splits.mat).
        root: Folder of the data; null for `digits`. `nyu`: the .mat file, or its folder.
        train_split: Name of the training split.
        test_split: Name of the test split, used only for final metrics; no image is in both splits.
        args: More arguments for `create_dataset`, such as `download: true`.
        images: `pairs`: pattern of the images below the root, such as `rgb/*.png`. `*` stands for a
            part of a name, `**` for any folders, `.*` at the end for any suffix, `{split}` for the
            value of `train` or `test`. An absolute pattern needs no root.
        targets: `pairs`: pattern of the maps, such as `depth/*.png`; an image and its map have the
            same text in place of the stars. A map has one number for each pixel: grey or palette
            PNG, TIFF, or `.npy`. `nyu`: `depths` (by default), `rawDepths` or `labels`.
        train: `pairs`: the training split. A text file below the root, of a name on each line: the
            text in place of the stars, without suffix, parts joined by `/`. Or else the value of
            `{split}`; or a folder below the root, in which both patterns begin.
        test: `pairs`: the test split, likewise. `nyu`: the file splits.mat, by default that beside
            the .mat file.
        scenes: `pairs`: what tells the scene of a training image: a regular expression, whose first
            group in a name is the scene, such as `^([^/]+)/`; or a text file below the root, of
            lines `NAME SCENE`. The search split then is of whole scenes. `nyu` has its own.
        scale: Depth: metres of one unit of the files, such as 0.001 for millimetres; null for
            floats in metres.
        invalid: Depth: value of the files for no measurement, such as 65535; 0, NaN and infinity
            always are.
        remap: Segmentation: new label by label of the files, such as `{0: 255, 7: 0}`; labels that
            it lacks stay.
        reduce_zero_label: Segmentation: whether label 0 of the files is no class, and label 1 the
            first class, as in ADE20K; after `remap`.
    """

    name: str = "digits"
    root: str | None = None
    train_split: str = "train"
    test_split: str = "validation"
    args: dict[str, Any] = field(default_factory=dict)
    images: str | None = None
    targets: str | None = None
    train: str | None = None
    test: str | None = None
    scenes: str | None = None
    scale: float | None = None
    invalid: float | None = None
    remap: dict[int, int] | None = None
    reduce_zero_label: bool | None = None

    def __post_init__(self) -> None:
        if self.scale is not None and not 0 < self.scale < math.inf:
            raise InputError(f"data.dataset.scale: must be finite and over 0, got {self.scale}")


@dataclass(frozen=True)
class AugmentConfig:
    """The augmentation of training images, by timm, or together with their maps by torchvision.

    Args:
        crop_scale: Least and greatest share of an image's area in a random resized crop; null for
            what suits the task: 0.8 to 1 for depth, 0.35 to 1 for others.
        hflip: Probability of a horizontal flip.
        rotation: Greatest rotation either way, in degrees, for targets that are maps, such as 2.5
            for depth; null for none.
        color_jitter: Strength of colour jitter, of the image alone; 0 turns it off.
        auto_augment: Classification: timm's policy string, such as `rand-m9-mstd0.5-inc1`; null
            for none.
        erasing: Classification: probability of random erasing.
        smoothing: Classification: label smoothing.
        mixup: Classification: alpha of mixup; 0 turns it off.
        cutmix: Classification: alpha of CutMix; 0 turns it off.
        mix_prob: Probability that a batch is mixed.
        switch_prob: Probability of CutMix instead of mixup, if both are on.
    """

    crop_scale: tuple[float, float] | None = None
    hflip: float = 0.5
    rotation: float | None = None
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
        if not 0 <= (self.rotation or 0) <= MAX_ROTATION:
            raise InputError(
                f"data.augment.rotation: must lie in 0 to {MAX_ROTATION}, got {self.rotation}"
            )
        least, greatest = self.crop_scale or (1.0, 1.0)
        if not 0 < least <= greatest <= 1:
            raise InputError(
                f"data.augment.crop_scale: must be two ascending shares of 0 to 1, got "
                f"{[least, greatest]}"
            )


@dataclass(frozen=True)
class InputConfig:
    """The preprocessing of images; null takes the value of the backbone's timm config.

    Args:
        mean: Mean of each channel, for pixels in 0..1.
        std: Standard deviation of each channel, likewise.
        interpolation: Interpolation of resizing, such as `bilinear` or `bicubic`.
        crop_pct: Share of each side that the centre crop of evaluation keeps, in classification;
            with maps, the whole image is evaluated.
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
        search_share: Share of the training split held out to rank archs: of each class, or whole
            scenes where the data set tells them.
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
