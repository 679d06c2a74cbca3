"""Pairs of files that belong together by name: images, and maps such as depth or labels."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from space.utils.errors import InputError, near, one_line, shown
from supernet.config import DatasetConfig
from supernet.data.image_reading import DatasetReader, file_digest
from supernet.data.source import Labels, MapReader, Source

SPLITS = ("train", "test")
# Pillow's modes with one number for each pixel: bits, grey, palettes, 16 and 32 bits, floats.
ONE_CHANNEL = ("1", "L", "P", "I", "F")
MAX_NEAR = 10_000  # names to compare a misspelt one with
# Regular expressions of a pattern's stars.
WILDCARDS = {"**/": "((?:[^/]+/)*)", "*": "([^/]*)"}


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


class _Images(Sequence[Any]):
    """The images of pairs, for `DatasetReader`."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self.samples = [(str(path), None) for path in paths]

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, i: Any) -> Any:
        return Image.open(self.samples[i][0]), None


class FileMaps(MapReader):
    """Maps in files: PNG or TIFF of one channel, or `.npy`."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = [str(path) for path in paths]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, i: int) -> NDArray[Any]:
        return read_map(Path(self.paths[i]))

    def name(self, i: int) -> str:
        return self.paths[i]

    def digest(self, i: int, salt: str) -> int:
        return file_digest(self.paths[i], self.paths[i], salt)


def read_map(path: Path) -> NDArray[Any]:
    """Read a map (H, W): indices of palettes as they are, never colours.

    Raises:
        InputError: The file cannot be read, or has several channels.
    """
    try:
        if path.suffix == ".npy":
            values: NDArray[Any] = np.load(path, allow_pickle=False)
            if values.ndim != 2:
                raise ValueError(f"must have two axes, height and width, got {values.shape}")
        else:
            with Image.open(path) as image:
                if image.mode.partition(";")[0] not in ONE_CHANNEL:
                    channels = ", ".join(image.getbands())
                    raise ValueError(f"must have one channel, got {channels}")
                values = np.asarray(image)
    except Exception as error:  # Pillow and numpy raise many types for damaged files
        raise InputError(f"{path}: cannot be read as a map: {one_line(error)}") from None
    # torch has no unsigned integers of 16 bits to resize, and not every byte order.
    return values.astype(values.dtype.newbyteorder("="))


def open_pairs(config: DatasetConfig) -> tuple[Source, Source]:
    """Open the training and the test split of `pairs`.

    Raises:
        InputError: A file or folder is missing, a file has no partner, or the splits overlap.
    """
    missing = [key for key in ("images", "targets", *SPLITS) if getattr(config, key) is None]
    if missing:
        raise InputError(f"data.dataset.{missing[0]}: missing; `pairs` needs it")
    splits = {key: _open_split(config, key) for key in SPLITS}
    shared = {pair.image.resolve() for pair in splits["train"]}
    for pair in splits["test"]:
        if pair.image.resolve() in shared:
            raise InputError(f"data.dataset.test: {pair.image} is in the training split too")
    scenes = read_scenes(config.scenes, Path(config.root or "."))
    train, test = (_make_source(splits[key], key, scenes) for key in SPLITS)
    return train, test


def _make_source(pairs: Sequence[Pair], split: str, scenes: Callable[[str], str] | None) -> Source:
    reader = DatasetReader(_Images(pair.image for pair in pairs), split)
    targets = FileMaps([pair.target for pair in pairs])
    numbers = None if scenes is None else number_scenes([scenes(pair.name) for pair in pairs])
    return Source(targets, (), reader, numbers)


def _open_split(config: DatasetConfig, key: str) -> list[Pair]:
    """List the pairs of a split, sorted by name.

    A text file names some of the pairs below the root. Any other value takes the place of `{split}`
    in the patterns, or else is a folder below the root, in which they are found.
    """
    value, root = str(getattr(config, key)), Path(config.root or ".")
    images, targets = str(config.images), str(config.targets)
    listed = (root / value).is_file()
    if not listed:
        if "{split}" in images and "{split}" in targets:
            images, targets = (each.replace("{split}", value) for each in (images, targets))
        else:
            root /= value
            if not root.is_dir():
                raise InputError(
                    f"data.dataset.{key}: {root} is neither a text file of names nor a folder"
                )
    found = {"images": find_files(root, images), "targets": find_files(root, targets)}
    for option, files in found.items():
        if not files:
            pattern = images if option == "images" else targets
            raise InputError(f"data.dataset.{option}: no file matches {root / pattern}")
    names = sorted({*found["images"], *found["targets"]})
    if listed:
        names = _read_names(root / value, names)
    _check_partners(names, found, {"images": images, "targets": targets}, root)
    return [Pair(name, found["images"][name], found["targets"][name]) for name in names]


def _check_partners(
    names: Sequence[str],
    found: dict[str, dict[str, Path]],
    patterns: dict[str, str],
    root: Path,
) -> None:
    """Refuse names without an image or a map."""
    for option, other in (("targets", "images"), ("images", "targets")):
        alone = [name for name in names if name not in found[option]]
        if alone:
            more = f", and {len(alone) - 1} more have none" if len(alone) > 1 else ""
            raise InputError(
                f"{found[other][alone[0]]}: has no partner {root / patterns[option]} with "
                f"{alone[0]!r} for the stars{more}"
            )


def _read_names(path: Path, known: Sequence[str]) -> list[str]:
    """Read the names in a text file, one on each line, without suffix."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read: {one_line(error)}") from None
    names, existing = list[str](), {*known}
    for number, name in enumerate(map(str.strip, lines), 1):
        if not name:
            continue
        if name not in existing:
            hint = near(name, list(known[:MAX_NEAR]))
            raise InputError(f"{path}:{number}: no file has the name {name!r}{hint}")
        names.append(name)
    if not names:
        raise InputError(f"{path}: holds no names")
    if len({*names}) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"{path}: has {twice!r} twice")
    return names


def find_files(root: Path, pattern: str) -> dict[str, Path]:
    """Find the files of a pattern, by the text that its stars stand for, joined by `/`.

    `*` is a part of one file or folder name, `**` any folders, and `.*` at the end any suffix. An
    absolute pattern replaces the root.
    """
    parts = (root / pattern).parts
    first = next((k for k, part in enumerate(parts) if "*" in part), len(parts) - 1)
    base, rest = Path(*parts[:first]), "/".join(parts[first:])
    body = rest.removesuffix(".*")
    pieces = (WILDCARDS.get(piece) or re.escape(piece) for piece in re.split(r"(\*\*/|\*)", body))
    suffix = "" if body == rest else r"\.[^./]+"
    expression = re.compile("".join(pieces) + suffix)
    files: dict[str, Path] = {}
    for path in sorted(base.glob(rest)):
        match = expression.fullmatch(path.relative_to(base).as_posix())
        if match is None or not path.is_file():
            continue
        name = "/".join(filter(None, (group.strip("/") for group in match.groups())))
        if name in files:
            raise InputError(
                f"{path}: has the same name, {name!r}, as {files[name].name} beside it"
            )
        files[name] = path
    return files


def read_scenes(value: str | None, root: Path) -> Callable[[str], str] | None:
    """Return the function from the name of a pair to its scene; None where none is configured.

    Args:
        value: A text file of lines `NAME SCENE`, below the root; or a regular expression, whose
            first group is the scene, or else its whole match.
        root: Root of the data.

    Raises:
        InputError: The file or the expression is invalid.
    """
    if value is None:
        return None
    if (root / value).is_file():
        return _read_scene_file(root / value)
    try:
        expression = re.compile(value)
    except re.error as error:
        raise InputError(
            f"data.dataset.scenes: {value!r} is neither a file below {root} nor a regular "
            f"expression: {error}"
        ) from None

    def match(name: str) -> str:
        found = expression.search(name)
        if found is None:
            raise InputError(f"data.dataset.scenes: {value!r} does not match the name {name!r}")
        return found[1] if expression.groups else found[0]

    return match


def _read_scene_file(path: Path) -> Callable[[str], str]:
    scenes = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read: {one_line(error)}") from None
    for number, line in enumerate(lines, 1):
        match line.split():
            case [name, scene]:
                scenes[name] = scene
            case []:
                pass
            case _:
                raise InputError(f"{path}:{number}: must be a name and a scene, got {shown(line)}")

    def look_up(name: str) -> str:
        if name not in scenes:
            raise InputError(f"{path}: has no scene of the name {name!r}")
        return scenes[name]

    return look_up


def number_scenes(scenes: Sequence[str]) -> Labels:
    """Number scenes by their names, (images,)."""
    return np.unique(np.asarray(scenes), return_inverse=True)[1].astype(np.int64)
