"""Pairs of files that belong together by name: images, and maps such as depth or labels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

from space.utils.errors import InputError
from supernet.config import DatasetConfig
from supernet.data.file_patterns import FilePattern, is_text_file, read_names
from supernet.data.image_reading import DatasetReader
from supernet.data.map_reading import FileMaps
from supernet.data.scenes import number_scenes, read_scenes
from supernet.data.source import Source

SPLITS = ("train", "test")
# In a pattern, the place of the value of `train` or `test`.
SPLIT = "{split}"


@dataclass(frozen=True)
class Pair:
    """An image and its map.

    Args:
        name: The text that both patterns' stars stand for.
        image, target: Their files.
    """

    name: str
    image: Path
    target: Path


class ImageFiles(Sequence[Any]):
    """Image files, turned as their EXIF orientation says, for `DatasetReader`.

    Whoever draws labels, draws them on the turned image.
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        self.samples = [(str(path), None) for path in paths]

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, i: Any) -> Any:
        image = Image.open(self.samples[i][0])
        ImageOps.exif_transpose(image, in_place=True)
        return image, None


def open_pairs(config: DatasetConfig) -> tuple[Source, Source]:
    """Open the training and the test split of `pairs`.

    Raises:
        InputError: A file or folder is missing, a file has no partner, or the splits overlap.
    """
    for key in ("images", "targets", *SPLITS):
        if not getattr(config, key):
            raise InputError(f"data.dataset.{key}: missing; pairs need it")
    if config.root is not None and not Path(config.root).is_dir():
        raise InputError(f"data.dataset.root: {config.root} is no folder")
    splits = {key: _open_split(config, key) for key in SPLITS}
    shared = {pair.image.resolve() for pair in splits["train"]}
    for pair in splits["test"]:
        if pair.image.resolve() in shared:
            raise InputError(f"data.dataset.test: {pair.image} is in the training split too")
    train, test = (_make_source(config, splits[key], key) for key in SPLITS)
    return train, test


def _make_source(config: DatasetConfig, pairs: Sequence[Pair], split: str) -> Source:
    reader = DatasetReader(ImageFiles(pair.image for pair in pairs), split)
    scenes = None
    # Only the training split is divided.
    if config.scenes is not None and split == "train":
        find_scene = read_scenes(config.scenes, Path(config.root or "."))
        scenes = number_scenes([find_scene(pair.name) for pair in pairs])
    return Source(FileMaps([pair.target for pair in pairs]), (), reader, scenes)


def _open_split(config: DatasetConfig, key: str) -> list[Pair]:
    """List the pairs of a split, sorted by name.

    A text file names some of the pairs below the root. Any other value takes the place of `{split}`
    in the patterns, or else is a folder below the root, in which they are found.
    """
    value, root = str(getattr(config, key)), Path(config.root or ".")
    listed = is_text_file(root / value)
    if not listed and SPLIT not in f"{config.images}{config.targets}":
        root = _split_folder(config, key, root / value)
    images, targets = (
        FilePattern(f"data.dataset.{option}", _insert_split(config, option, key, listed), root)
        for option in ("images", "targets")
    )
    found = images.find(), targets.find()
    if found[0].keys().isdisjoint(found[1]):
        one, other = (next(iter(files)) for files in found)
        raise InputError(
            f"data.dataset.targets: no file belongs to an image: the stars of {images.path} stand "
            f"for names such as {one!r}, those of {targets.path} for {other!r}"
        )
    names = read_names(root / value, *found) if listed else {*found[0], *found[1]}
    _check_partners(sorted(names), *found, images, targets)
    return [Pair(name, found[0][name], found[1][name]) for name in sorted(names)]


def _split_folder(config: DatasetConfig, key: str, folder: Path) -> Path:
    """Return the folder of a split, if there is one, and the patterns are relative to it."""
    if not folder.is_dir():
        raise InputError(
            f"data.dataset.{key}: {folder} is neither a text file of names nor a folder"
        )
    for option in ("images", "targets"):
        pattern = str(getattr(config, option))
        if Path(pattern).is_absolute():
            raise InputError(
                f"data.dataset.{option}: {pattern} is absolute, so it must have {SPLIT} in place "
                f"of the folder that data.dataset.{key} names"
            )
    return folder


def _insert_split(config: DatasetConfig, option: str, key: str, listed: bool) -> str:
    """Return a pattern of the config, with the value of a split in its place."""
    pattern, value = str(getattr(config, option)), str(getattr(config, key))
    other = config.targets if option == "images" else config.images
    if SPLIT in str(other) and SPLIT not in pattern:
        raise InputError(f"data.dataset.{option}: {pattern} must have {SPLIT}, as {other} has it")
    if SPLIT in pattern and listed:
        raise InputError(
            f"data.dataset.{key}: {value} is a text file of names, which cannot take the place of "
            f"{SPLIT} in {pattern}; put a star there, or name a folder"
        )
    return pattern.replace(SPLIT, value)


def _check_partners(
    names: Sequence[str],
    images: dict[str, Path],
    targets: dict[str, Path],
    image_pattern: FilePattern,
    target_pattern: FilePattern,
) -> None:
    """Refuse names without an image or a map."""
    sides = ((images, targets, target_pattern), (targets, images, image_pattern))
    for files, partners, pattern in sides:
        alone = [name for name in names if name not in partners]
        if alone:
            more = f", and {len(alone) - 1:,} more have none" if len(alone) > 1 else ""
            raise InputError(
                f"{files[alone[0]]}: has no partner {pattern.path} with {alone[0]!r} for the "
                f"stars{more}"
            )
