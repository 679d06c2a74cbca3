"""The samples of a split: images with labels, or with maps such as depth."""

from __future__ import annotations

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from space.utils.errors import InputError
from supernet.data.image_reading import DatasetReader

Labels = NDArray[np.int64]


class MapReader(ABC):
    """Reads the maps of a split, by index, as they are in their files."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, i: int) -> NDArray[Any]:
        """Read map i, (H, W).

        Raises:
            InputError: It cannot be read, or has not two axes.
        """

    @abstractmethod
    def name(self, i: int) -> str:
        """Return the path of map i, or its name inside a file, for errors."""

    @abstractmethod
    def digest(self, i: int, salt: str) -> int:
        """Return a 64-bit hash that identifies this version of map i, and `salt`."""


@dataclass(frozen=True)
class Source:
    """The samples of one split, by index.

    Args:
        targets: Label of each image, or the reader of maps.
        classes: Class names, in label order; none where targets are maps.
        reader: Reads image i in RGB; raises InputError with the name of an unreadable file.
        scenes: Number of the scene of each image; None where scenes are unknown.
        decode: Converts a map to the task's target; raises ValueError for an invalid one.
        options: What `decode` depends on, as text: maps of other options are checked again.
    """

    targets: Labels | MapReader
    classes: tuple[str, ...]
    reader: DatasetReader
    scenes: Labels | None = None
    decode: Callable[[NDArray[Any]], Any] | None = None
    options: str = ""

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def has_maps(self) -> bool:
        """Whether targets are maps."""
        return isinstance(self.targets, MapReader)

    def list_digest(self) -> str:
        """Hash the names of all files, below the folder they share, and the labels, in order.

        The files themselves are not opened, so that it is fast for a million of them.
        """
        hashed = hashlib.blake2b(digest_size=8)
        if self.reader.files is not None:  # others may have to read an image for its name
            _update(hashed, [self.reader.name(i) for i in range(len(self))])
        if isinstance(self.targets, MapReader):
            _update(hashed, [self.targets.name(i) for i in range(len(self))])
        else:
            hashed.update(np.ascontiguousarray(self.targets, dtype="<i8").tobytes())
        return hashed.hexdigest()

    def maps_digest(self, indices: Iterable[int]) -> str:
        """Hash the maps of some samples, as the task reads them.

        Raises:
            InputError: A map cannot be read, or does not fit the task.
        """
        hashed = hashlib.blake2b(digest_size=8)
        for i in indices:
            target = np.ascontiguousarray(self.read_map(i))
            hashed.update(f"{target.dtype} {target.shape} ".encode() + target.tobytes())
        return hashed.hexdigest()

    def read(self, i: int) -> tuple[Image.Image, Any]:
        """Read image i and its target.

        Raises:
            InputError: They cannot be read, or the map does not fit the image or the task.
        """
        image = self.reader(i)
        if not isinstance(self.targets, MapReader):
            return image, self.targets[i].item()
        return image, self.read_map(i, (image.height, image.width))

    def read_map(self, i: int, size: tuple[int, int] | None = None) -> Any:
        """Read map i as the task's target.

        Args:
            i: Its index; the targets must be maps.
            size: Height and width of its image; None to read the map alone.

        Raises:
            InputError: It cannot be read, or does not fit the image or the task.
        """
        assert isinstance(self.targets, MapReader)
        target = self.targets[i]
        try:
            if size is not None and target.shape != size:
                turned = "; one of them is turned, which an EXIF orientation does too"
                raise ValueError(
                    f"is {target.shape[1]} x {target.shape[0]} pixels, its image {size[1]} x "
                    f"{size[0]}{turned if target.shape == size[::-1] else ''}"
                )
            return target if self.decode is None else self.decode(target)
        except ValueError as error:
            raise InputError(f"{self.targets.name(i)}: {error}") from None

    def digest(self, i: int) -> int:
        """Return a 64-bit hash that identifies this version of sample i, and how it is decoded."""
        digest = self.reader.digest(i)
        if isinstance(self.targets, MapReader):
            digest ^= self.targets.digest(i, self.options)
        return digest


def _update(hashed: Any, names: list[str]) -> None:
    """Add names to a hash, without the folder that all of them share."""
    # Sorted, what the first and the last one share all of them share.
    start = len(os.path.commonpath([min(names), max(names)])) if names else 0
    for name in names:
        hashed.update(name[start:].encode(errors="surrogateescape") + b"\0")
