"""NYU Depth V2's labelled set: `nyu_depth_v2_labeled.mat` (HDF5), with `splits.mat` beside it.

MATLAB's arrays lie transposed in HDF5: images (n, 3, W, H), maps (n, W, H), splits from 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from space.utils.errors import InputError, check_one_of, one_line
from supernet.config import DatasetConfig
from supernet.data.image_reading import DatasetReader, file_digest
from supernet.data.scenes import number_scenes
from supernet.data.source import Labels, MapReader, Source

FILE = "nyu_depth_v2_labeled.mat"
MAPS = ("depths", "rawDepths", "labels")
SPLITS = {"train": "trainNdxs", "test": "testNdxs"}


class MatArray:
    """An array of a .mat file of HDF5; the file is opened for each reading.

    An open file could be neither pickled nor shared with worker processes.

    Args:
        path: The file.
        array: Name of the array.
        indices: The entries of a split, from 0.
    """

    def __init__(self, path: Path, array: str, indices: Labels) -> None:
        self.path = path
        self.array = array
        self.indices = indices

    def __len__(self) -> int:
        return len(self.indices)

    def read(self, i: int) -> NDArray[Any]:
        """Read entry i with MATLAB's order of axes."""
        import h5py  # noqa: PLC0415 - optional

        with h5py.File(self.path) as file:
            values: NDArray[Any] = file[self.array][int(self.indices[i])]
        return np.ascontiguousarray(values.T)

    def name(self, i: int) -> str:
        """Return the entry's name for errors, counted as in MATLAB."""
        return f"{self.path}: {self.array}({int(self.indices[i]) + 1})"


class MatImages(MatArray, Sequence[Any]):
    """The images (H, W, 3), for `DatasetReader`."""

    @property
    def samples(self) -> list[tuple[str, None]]:
        """The name of each image, in the form of a folder's."""
        return [(self.name(i), None) for i in range(len(self))]

    def __getitem__(self, i: Any) -> Any:
        return Image.fromarray(self.read(i)), None


class MatMaps(MatArray, MapReader):
    """The maps (H, W)."""

    def __getitem__(self, i: int) -> NDArray[Any]:
        try:
            values = self.read(i)
        except Exception as error:  # HDF5 raises many types for damaged files
            raise InputError(f"{self.name(i)}: cannot be read: {one_line(error)}") from None
        if values.ndim != 2:
            raise InputError(f"{self.name(i)}: must have two axes, got the shape {values.shape}")
        return values

    def digest(self, i: int, salt: str) -> int:
        return file_digest(self.name(i), str(self.path), salt)


def open_nyu(config: DatasetConfig) -> tuple[Source, Source]:
    """Open the training and the test split of NYU's file.

    Raises:
        InputError: A file is missing or has other contents, or h5py is not installed.
    """
    if find_spec("h5py") is None:
        raise InputError(
            "data.dataset.name: nyu needs h5py, not installed here: pip install 'tokennas[dense]'"
        )
    if config.root is None:
        raise InputError(f"data.dataset.root: missing; it names the file {FILE}, or its folder")
    maps = config.targets or MAPS[0]
    check_one_of("data.dataset.targets:", maps, MAPS)
    path = Path(config.root)
    if path.is_dir():
        path /= FILE
    count, scenes = _read_file(path, maps)
    splits = _read_splits(path.parent / (config.test or "splits.mat"), count)
    train, test = (
        Source(
            MatMaps(path, maps, indices),
            (),
            # Entries are no files: that the .mat file has changed is in the digests of the maps.
            DatasetReader(MatImages(path, "images", indices), split),
            scenes[indices],
        )
        for split, indices in splits.items()
    )
    return train, test


def _read_file(path: Path, maps: str) -> tuple[int, Labels]:
    """Return the number of images, and the number of the scene of each."""
    import h5py  # noqa: PLC0415 - optional

    if not path.exists():
        raise InputError(f"data.dataset.root: {path} does not exist")
    try:
        with h5py.File(path) as file:
            missing = [name for name in ("images", maps, "scenes") if name not in file]
            if missing:
                raise ValueError(f"has no array {missing[0]!r}")
            # A cell array of text: references to arrays of characters.
            references = np.asarray(file["scenes"]).ravel()
            names = ["".join(map(chr, np.asarray(file[each]).ravel())) for each in references]
            counts = {"images": len(file["images"]), maps: len(file[maps]), "scenes": len(names)}
    except Exception as error:  # HDF5 raises many types for files of other contents
        raise InputError(f"{path}: not NYU's labelled set: {one_line(error)}") from None
    if len(set(counts.values())) > 1:
        sizes = ", ".join(f"{count} {name}" for name, count in counts.items())
        raise InputError(f"{path}: not NYU's labelled set: it has {sizes}")
    return len(names), number_scenes(names)


def _read_splits(path: Path, count: int) -> dict[str, Labels]:
    """Read the official split of `count` images, as indices from 0."""
    from scipy.io import loadmat  # noqa: PLC0415 - seldom needed

    if not path.exists():
        raise InputError(
            f"data.dataset.test: {path} does not exist; it is the official split, splits.mat"
        )
    try:
        values = loadmat(path)
        splits = {
            split: np.asarray(values[name]).ravel().astype(np.int64) - 1
            for split, name in SPLITS.items()
        }
    except Exception as error:  # scipy raises many types for files of other formats
        raise InputError(f"{path}: not NYU's splits.mat: {one_line(error, typed=True)}") from None
    for split, indices in splits.items():
        if not len(indices):
            raise InputError(f"{path}: {SPLITS[split]} is empty")
    together = np.concatenate(list(splits.values()))
    if len(np.unique(together)) < len(together):
        raise InputError(f"{path}: an image is in both splits, or twice in one")
    if together.min() < 0 or together.max() >= count:
        raise InputError(
            f"{path}: must be numbers of 1 to {count}, the images of the .mat file, got "
            f"{together.min() + 1} to {together.max() + 1}"
        )
    return splits
