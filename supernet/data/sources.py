"""Data sets: those that timm reads, torchvision's, scikit-learn's digits.

Folders are checked here, before training starts, since timm is lenient: it reads the whole root if
the folder of a split is missing, and replaces an unreadable image by the next one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from timm.data import create_dataset
from timm.data.readers import add_img_extensions

from space.utils.errors import InputError, one_line, shown
from supernet.config import DatasetConfig
from supernet.data.image_reading import DatasetReader, PixelReader, Stamp

SYNONYMS = (
    ("train", "training"),
    ("validation", "val", "valid", "eval", "evaluation"),
    ("test", "testing"),
)
DIGITS_TEST_SHARE = 4
# Streams have no length. Opening them also runs shell commands from the root (wds), or code that
# comes with a data set (tfds).
STREAMS = ("hfids", "tfds", "wds")
SCRIPTLESS = 4  # first major version of `datasets` that runs no scripts
RANDOM_ACCESS = ("torch", "hfds")
# Arguments that run code, unpickle, or are set elsewhere are refused in a config.
REFUSED_ARGS = (
    "trust_remote_code",
    "cache_tarinfo",
    "loader",
    "is_valid_file",
    "reader",
    "transform",
    "transforms",
    "target_transform",
    "name",
    "root",
    "split",
    "search_split",
)


@dataclass(frozen=True)
class Source:
    """The images of one split, by index.

    Args:
        targets: Label of each image.
        classes: Class names, in label order.
        read: Reads image i in RGB; raises InputError with the name of an unreadable file.
        stamp: Returns the stamp of the file of image i; None where images are no files.
    """

    targets: np.ndarray[Any, np.dtype[np.int64]]
    classes: tuple[str, ...]
    read: Callable[[int], Image.Image]
    stamp: Callable[[int], Stamp] | None = None

    def __len__(self) -> int:
        return len(self.targets)


def open_sources(config: DatasetConfig) -> tuple[Source, Source]:
    """Open the training and the test split.

    Raises:
        InputError: There are no images, the splits share some, or they do not have the same two or
            more classes.
    """
    if config.name == "digits":
        return _digits()
    splits = config.train_split, config.test_split
    train_set, test_set = (_open(config, split) for split in splits)
    if _share_images(train_set, test_set):
        raise InputError(
            f"dataset.test_split: {config.test_split!r} shares images with the training split "
            f"{config.train_split!r}; final figures need images that were not trained on"
        )
    train, test = _source(train_set, config, splits[0]), _source(test_set, config, splits[1])
    _check_classes(config, train, test)
    return train, test


def _digits() -> tuple[Source, Source]:
    """Load scikit-learn's 1,797 digits (8 x 8); every fourth of a class is in the test split."""
    from sklearn.datasets import load_digits  # noqa: PLC0415 - slow to import, seldom needed

    bunch: Any = load_digits()
    pixels = np.asarray(bunch.images / bunch.images.max() * 255).astype(np.uint8)
    targets = np.asarray(bunch.target, dtype=np.int64)
    rank = np.empty(len(targets), dtype=np.int64)
    for label in np.unique(targets):
        members = np.flatnonzero(targets == label)
        rank[members] = np.arange(len(members))
    test = rank % DIGITS_TEST_SHARE == DIGITS_TEST_SHARE - 1
    classes = tuple(str(name) for name in bunch.target_names)

    def source(which: np.ndarray[Any, Any]) -> Source:
        return Source(targets[which], classes, PixelReader(pixels[which]))

    return source(~test), source(test)


def _open(config: DatasetConfig, split: str) -> Any:
    """Open a data set by timm's `create_dataset`."""
    name = "" if config.name in ("folder", "tar") else config.name
    root = config.root
    kind, slash, _ = name.partition("/")
    if slash and kind.lower() in STREAMS:
        raise InputError(f"dataset.name: {name} is a stream; a data set must have a length")
    if kind.lower() not in RANDOM_ACCESS or not slash:
        if name:
            raise InputError(
                f"dataset.name: {name!r} is none of digits, folder, tar, torch/NAME, hfds/NAME"
            )
        root = str(_split_folder(config, split))
    _check_args(config)
    if kind.lower() == "hfds":
        _check_scriptless()
    add_img_extensions(".webp")
    try:
        return create_dataset(name, root=root, split=split, search_split=False, **config.args)
    except Exception as error:  # data sets raise errors of any type
        raise InputError(
            f"dataset {config.name}, split {split!r}, root {root}: {one_line(error)}"
        ) from None


def _source(dataset: Any, config: DatasetConfig, split: str) -> Source:
    targets, classes = _labels(dataset, config, split)
    reader = DatasetReader(dataset, split)
    return Source(targets, classes, reader, reader.stamp if reader.has_files else None)


def _share_images(train: Any, test: Any) -> bool:
    """Return whether two data sets have images in common, by their splits and roots.

    Configured split names are no proof: `val` and `valid` may be one folder, and for torchvision's
    CIFAR-10 every name but train is the test split.
    """
    both = [getattr(each, "reader", each) for each in (train, test)]
    parts = [getattr(each, "split", getattr(each, "train", None)) for each in both]
    if None not in parts:
        # Hugging Face slices: `train[90%:]` is a part of `train`.
        wholes = [str(part).partition("[")[0] for part in parts]
        return parts[0] == parts[1] or parts[0] == wholes[1] or parts[1] == wholes[0]
    roots = [Path(each.root).resolve() for each in both if getattr(each, "root", None)]
    if len(roots) < 2:
        return False
    first, second = roots
    return first.is_relative_to(second) or second.is_relative_to(first)


def _check_scriptless() -> None:
    """Refuse versions of `datasets` that run the script of a data set."""
    try:
        found = version("datasets")
    except PackageNotFoundError:
        raise InputError("dataset.name: hfds/NAME needs the package datasets") from None
    if int(found.split(".")[0]) < SCRIPTLESS:
        raise InputError(
            f"dataset.name: hfds/NAME needs datasets {SCRIPTLESS} or later, where no script of a "
            f"data set is run; {found} is installed"
        )


def _check_args(config: DatasetConfig) -> None:
    """Refuse arguments that make timm run code, or read files other than the data."""
    for key, value in config.args.items():
        if key in REFUSED_ARGS:
            raise InputError(f"dataset.args: {key!r} is not allowed here")
        if key == "class_map" and not (isinstance(value, dict) or str(value).endswith(".txt")):
            raise InputError(
                f"dataset.args: class_map must be a mapping or a .txt file, got {shown(value)}"
            )


def _split_folder(config: DatasetConfig, split: str) -> Path:
    """Return the folder or tar file of a split; never the whole root instead."""
    if config.root is None:
        raise InputError("dataset.root: missing; it names the folder of the images")
    root = Path(config.root)
    if not root.exists():
        raise InputError(f"dataset.root: {root} does not exist")
    names: tuple[str, ...] = next((group for group in SYNONYMS if split in group), ())
    tried = [root / name for name in (split, *names)]
    tried += [path.with_name(f"{path.name}.tar") for path in tried]
    for path in tried:
        if path.exists():
            return Path(path)
    there = ", ".join(sorted(p.name for p in root.iterdir())[:8]) if root.is_dir() else "a file"
    raise InputError(f"dataset.root: {root} has no split {split!r}; it holds {there or 'nothing'}")


def _labels(
    dataset: Any, config: DatasetConfig, split: str
) -> tuple[np.ndarray[Any, np.dtype[np.int64]], tuple[str, ...]]:
    """Return targets and class names, without decoding images."""
    reader = getattr(dataset, "reader", None)
    if not hasattr(dataset, "__len__") or not hasattr(dataset, "__getitem__"):
        raise InputError(f"dataset.name: {config.name} is a stream; a data set must have a length")
    if reader is None:
        targets = getattr(dataset, "targets", None)
        if targets is None:
            targets = getattr(dataset, "labels", None)
        names = getattr(dataset, "classes", None)
    else:
        if hasattr(reader, "iter_targets"):
            targets = list(reader.iter_targets())
        elif hasattr(reader, "targets"):
            targets = list(reader.targets)
        else:
            targets = [target for _, target in reader.samples]
        index = getattr(reader, "class_to_idx", None) or getattr(reader, "class_name_to_idx", {})
        names = sorted(index, key=index.__getitem__)
    labels = np.asarray([] if targets is None else targets, dtype=np.int64)
    if not labels.size:
        raise InputError(f"dataset {config.name}, split {split!r}: no labelled images")
    found: Sequence[Any] = names or range(int(labels.max()) + 1)
    return labels, tuple(str(name) for name in found)


def _check_classes(config: DatasetConfig, train: Source, test: Source) -> None:
    if len(train.classes) < 2:
        raise InputError(
            f"dataset: the split {config.train_split!r} has the class "
            f"{shown(train.classes[0])} alone; two or more are needed, each a folder of its images"
        )
    if train.classes != test.classes:
        for split, here, other in (
            (config.test_split, test, train),
            (config.train_split, train, test),
        ):
            missing = [name for name in other.classes if name not in here.classes]
            if missing:
                more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
                names = ", ".join(missing[:5])
                raise InputError(f"dataset: the split {split!r} has no class {names}{more}")
        raise InputError("dataset: the splits have the same classes in another order")
    for split, source in ((config.train_split, train), (config.test_split, test)):
        empty = np.setdiff1d(np.arange(len(source.classes)), source.targets)
        if len(empty):
            raise InputError(
                f"dataset: the split {split!r} has no image of class {source.classes[empty[0]]}"
            )
