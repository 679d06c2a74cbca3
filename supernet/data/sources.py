"""Data sets: those that timm reads, torchvision's, scikit-learn's digits.

Folders are checked here, before training starts, since timm is lenient: it reads the whole root if
the folder of a split is missing, and replaces an unreadable image by the next one. Data sets whose
targets are maps have modules of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from itertools import chain, permutations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from timm.data import create_dataset
from timm.data.readers import add_img_extensions

from space.utils.errors import InputError, one_line, shown
from supernet.config import DatasetConfig
from supernet.data.image_reading import DatasetReader
from supernet.data.nyu import open_nyu
from supernet.data.pairs import open_pairs
from supernet.data.source import Source
from supernet.tasks.registry import map_value_keys

# Data sets whose targets are maps.
MAPS: dict[str, Callable[[DatasetConfig], tuple[Source, Source]]] = {
    "pairs": open_pairs,
    "nyu": open_nyu,
}
# The keys of `data.dataset` that say where labels are, and maps; what the values of maps mean is
# said by keys of the tasks.
LABEL_KEYS = ("train_split", "test_split", "args")
MAP_KEYS = {"pairs": ("targets", "test", "images", "train", "scenes"), "nyu": ("targets", "test")}
SYNONYMS = (
    ("train", "training"),
    ("validation", "val", "valid", "eval", "evaluation"),
    ("test", "testing"),
)
DIGITS_TEST_SHARE = 4
SCRIPTLESS_MAJOR = 4  # first major version of `datasets` that runs no scripts
# timm's other kinds are streams, which have no length. Opening them also runs shell commands from
# the root (wds), or code that comes with a data set (tfds).
RANDOM_ACCESS = ("torch/", "hfds/")
# Arguments that run code or unpickle are refused in a config.
REFUSED_ARGS = (
    "trust_remote_code",
    "cache_tarinfo",
    "loader",
    "is_valid_file",
    "reader",
    "transform",
    "transforms",
    "target_transform",
)


def open_sources(config: DatasetConfig) -> tuple[Source, Source]:
    """Open the training and the test split.

    Raises:
        InputError: There are no images, the splits share some, they do not have the same classes,
            two or more, or images and maps do not belong together.
    """
    _check_keys(config)
    if config.name in MAPS:
        return MAPS[config.name](config)
    if config.name == "digits":
        return _load_digits()
    train_set, test_set = (
        _open_dataset(config, split) for split in (config.train_split, config.test_split)
    )
    if _share_images(train_set, test_set):
        raise InputError(
            f"dataset.test_split: {config.test_split!r} shares images with the training split "
            f"{config.train_split!r}; final figures need images that were not trained on"
        )
    train = _make_source(train_set, config, config.train_split)
    test = _make_source(test_set, config, config.test_split)
    _check_classes(config, train, test)
    return train, test


def _check_keys(config: DatasetConfig) -> None:
    """Refuse keys of another kind of data set."""
    maps = {name: (*keys, *map_value_keys()) for name, keys in MAP_KEYS.items()}
    default, own = DatasetConfig(), maps.get(config.name, LABEL_KEYS)
    for key in dict.fromkeys(chain(LABEL_KEYS, *maps.values())):
        if key not in own and getattr(config, key) != getattr(default, key):
            others = [name for name, keys in maps.items() if key in keys]
            kind = " and ".join(others) or "data sets whose targets are labels"
            raise InputError(f"data.dataset.{key}: is for {kind}, not for {config.name}")


def _load_digits() -> tuple[Source, Source]:
    """Load scikit-learn's 1,797 digits (8 x 8); every fourth of a class is in the test split."""
    from sklearn.datasets import load_digits  # noqa: PLC0415 - slow to import, seldom needed

    bunch: Any = load_digits()
    pixels = (bunch.images / bunch.images.max() * 255).astype(np.uint8)
    targets = bunch.target.astype(np.int64)
    is_test = np.zeros(len(targets), dtype=bool)
    for label in np.unique(targets):
        is_test[np.flatnonzero(targets == label)[DIGITS_TEST_SHARE - 1 :: DIGITS_TEST_SHARE]] = True
    classes = tuple(str(name) for name in bunch.target_names)

    def source(split: str, mask: NDArray[np.bool_]) -> Source:
        images = [(Image.fromarray(each), None) for each in pixels[mask]]
        return Source(targets[mask], classes, DatasetReader(images, split))

    return source("train", ~is_test), source("test", is_test)


def _open_dataset(config: DatasetConfig, split: str) -> Any:
    """Open a data set with timm's `create_dataset`."""
    name, root = config.name, config.root
    if name in ("folder", "tar"):
        name, root = "", str(_split_folder(config, split))
    elif not name.lower().startswith(RANDOM_ACCESS):
        raise InputError(
            f"dataset.name: {name!r} is none of digits, folder, tar, torch/NAME, hfds/NAME, "
            f"{', '.join(MAPS)}"
        )
    _check_args(config)
    if name.lower().startswith("hfds/"):
        _check_scriptless()
    add_img_extensions(".webp")
    try:
        return create_dataset(name, root=root, split=split, search_split=False, **config.args)
    except Exception as error:  # data sets raise errors of any type
        raise InputError(
            f"dataset {config.name}, split {split!r}, root {root}: {one_line(error)}"
        ) from None


def _make_source(dataset: Any, config: DatasetConfig, split: str) -> Source:
    """Make the source of a data set without decoding images."""
    reader = getattr(dataset, "reader", None)
    if reader is None:
        targets = getattr(dataset, "targets", getattr(dataset, "labels", []))
        names = getattr(dataset, "classes", None)
    else:
        if hasattr(reader, "iter_targets"):
            targets = list(reader.iter_targets())
        elif hasattr(reader, "targets"):
            targets = reader.targets
        else:
            targets = [target for _, target in reader.samples]
        index = getattr(reader, "class_to_idx", None) or getattr(reader, "class_name_to_idx", {})
        names = sorted(index, key=index.__getitem__)
    labels = np.asarray(targets, dtype=np.int64)
    if not labels.size:
        raise InputError(f"dataset {config.name}, split {split!r}: no labelled images")
    classes = tuple(str(name) for name in names or range(int(labels.max()) + 1))
    return Source(labels, classes, DatasetReader(dataset, split))


def _share_images(train: Any, test: Any) -> bool:
    """Return whether two data sets have images in common, by their splits and roots.

    Configured split names are no proof: `val` and `valid` may be one folder, and for torchvision's
    CIFAR-10 every name but train is the test split.
    """
    readers = [getattr(each, "reader", each) for each in (train, test)]
    splits = [getattr(each, "split", getattr(each, "train", None)) for each in readers]
    if None not in splits:
        # Hugging Face slices: `train[90%:]` is a part of `train`.
        unsliced = [str(split).partition("[")[0] for split in splits]
        return splits[0] == splits[1] or splits[0] == unsliced[1] or splits[1] == unsliced[0]
    roots = [Path(each.root).resolve() for each in readers if getattr(each, "root", None)]
    return any(one.is_relative_to(other) for one, other in permutations(roots, 2))


def _check_scriptless() -> None:
    """Refuse versions of `datasets` that run the script of a data set."""
    try:
        installed = version("datasets")
    except PackageNotFoundError:
        installed = "0"
    if int(installed.split(".")[0]) < SCRIPTLESS_MAJOR:
        raise InputError(
            f"dataset.name: hfds/NAME needs the package datasets, version {SCRIPTLESS_MAJOR} or "
            "later, where no script of a data set is run"
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
    synonyms: tuple[str, ...] = next((group for group in SYNONYMS if split in group), ())
    candidates = [root / name for name in (split, *synonyms)]
    candidates += [path.with_name(f"{path.name}.tar") for path in candidates]
    for path in candidates:
        if path.exists():
            return path
    contents = ", ".join(sorted(p.name for p in root.iterdir())[:8]) if root.is_dir() else "a file"
    raise InputError(
        f"dataset.root: {root} has no split {split!r}; it holds {contents or 'nothing'}"
    )


def _check_classes(config: DatasetConfig, train: Source, test: Source) -> None:
    """Refuse splits that do not have the same classes, two or more."""
    if len(train.classes) < 2:
        raise InputError(
            f"dataset: the split {config.train_split!r} has the class "
            f"{shown(train.classes[0])} alone; two or more are needed, each a folder of its images"
        )
    classes = (*train.classes, *test.classes)
    for split, source in ((config.train_split, train), (config.test_split, test)):
        targets: Any = source.targets
        labels = set(np.unique(targets).tolist())
        present = {name for label, name in enumerate(source.classes) if label in labels}
        missing = [name for name in dict.fromkeys(classes) if name not in present]
        if missing:
            more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
            names = ", ".join(missing[:5])
            raise InputError(f"dataset: the split {split!r} has no image of class {names}{more}")
    if train.classes != test.classes:
        raise InputError("dataset: the splits have the same classes in another order")
