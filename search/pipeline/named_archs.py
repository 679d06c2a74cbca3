"""The archs of the option `--archs`: arch files, fronts, or folders of either."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from search.front.front import Front
from search.front.front_file import FRONT, FrontEntry
from search.front.front_file import SCHEMA as FRONT_SCHEMA
from search.pipeline.network_folder import ARCH
from space.arch_file import SCHEMA as ARCH_SCHEMA
from space.arch_file import ArchFile, load_arch_file
from space.utils.errors import InputError
from space.utils.yaml_file import read_yaml


@dataclass(frozen=True)
class NamedArch:
    """A named arch.

    Args:
        name: Name of its file, or of its network's folder.
        path: Its arch file; for an entry of a front, the path that an export would write.
        file: Contents of the file.
    """

    name: str
    path: Path
    file: ArchFile


def read_archs(paths: Iterable[str | Path]) -> list[NamedArch]:
    """Read the archs of arch files, `front.yaml` files and folders, each once.

    A folder stands for the first of: its `arch.yaml`, its arch files, the entries of its
    `front.yaml`, the `arch.yaml` files one level below, such as those of retrained networks.

    Raises:
        InputError: A file is invalid, a folder has no archs, or a front is empty.
    """
    archs: dict[Path, NamedArch] = {}
    for path in map(Path, paths):
        for file in _find_files(path) if path.is_dir() else [path]:
            is_front = _read_schema(file) == FRONT_SCHEMA
            for arch in _read_front(file) if is_front else [_read_file(file)]:
                archs.setdefault(arch.path.absolute(), arch)
    return list(archs.values())


def file_stem(entry: FrontEntry) -> str:
    """Return a file name that sorts by MACs, such as `0452.00M_3f2a91`."""
    macs = entry.metrics["macs"]
    unit, size = ("M", 1e6) if macs >= 1e6 else ("k", 1e3)
    return f"{macs / size:07.2f}{unit}_{entry.identity[:6]}"


def _find_files(folder: Path) -> list[Path]:
    """Return the arch files of a folder, or its front."""
    if (folder / ARCH).exists():
        return [folder / ARCH]
    paths = [path for path in sorted(folder.glob("*.yaml")) if _read_schema(path) == ARCH_SCHEMA]
    paths = paths or [*folder.glob(FRONT)] or sorted(folder.glob(f"*/{ARCH}"))
    if not paths:
        raise InputError(f"{folder}: no arch files in this folder, no {FRONT} and no */{ARCH}")
    return paths


def _read_schema(path: Path) -> object:
    data = read_yaml(path).data
    return data.get("schema") if isinstance(data, dict) else None


def _read_file(path: Path) -> NamedArch:
    name = path.absolute().parent.name if path.name == ARCH else path.stem
    return NamedArch(name, path, load_arch_file(path))


def _read_front(path: Path) -> Iterator[NamedArch]:
    """Yield the archs of a front, read from their arch files beside it where these exist."""
    front = Front.load(path)
    if not front.entries:
        raise InputError(f"{path}: the front is empty: {front.ended}")
    for entry in front.entries:
        exported = path.with_name(f"{file_stem(entry)}.yaml")
        if exported.exists():
            yield _read_file(exported)
        else:
            origin = {"trial": entry.trial, "identity": entry.identity}
            metrics = {"search": dict(entry.metrics)}
            file = ArchFile(entry.arch, front.shape, metrics=metrics, origin=origin)
            yield NamedArch(exported.stem, exported, file)
