"""Stage three: the front's archs as files that anybody can run."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console

from search.config import Config
from search.folder import RunFolder
from search.front import Front, FrontEntry
from search.lock import FolderLock
from search.stages.packing import Packing, package_names
from search.stages.searching import digest
from search.stages.setup import TRAINED, WEIGHTS, Setup, trained
from search.stages.subnets import about
from search.stages.tables import tables_by_cost
from search.stages.timing import latencies_of
from space.arch import Arch
from space.errors import InputError
from space.files import load_arch_file, save_arch
from space.writing import make_folder
from supernet.exporting import check_packages

PORTFOLIO = "portfolio"


def export(config: Config, file: Path | None, archs: list[str], console: Console) -> list[Path]:
    """Write one arch file for each point of the front, and `front.yaml` beside them.

    In the formats that the config asks for, each of their subnets is written too, or the subnet of
    each given arch file; and the front over one set of weights, as a portfolio.

    Returns:
        The arch files.

    Raises:
        InputError: there is no front, or no trained supernet, or an arch file is not right; a file
            cannot be written, or does not compute what its subnet does.
    """
    forms = check_formats(config, archs)
    folder = RunFolder(config, file)
    front = None if archs else load_front(folder, config)
    given = package_names(archs)
    files = {path: load_arch_file(path) for path in given.values()}
    setup = trained(config, file)
    folder.claim("supernet", TRAINED)
    target = make_folder(folder.stage("export") / config.search.name)
    if front is not None:
        given = _write_front(front, target, setup, config, folder)
        files = {path: load_arch_file(path) for path in given.values()}
        noun = "arch" if len(given) == 1 else "archs"
        console.print(f"exported {len(given)} {noun} to {target}", markup=False, soft_wrap=True)
    if config.export.format:
        with FolderLock(target):
            packing = Packing(config, setup, folder, forms, console)
            if front is not None and PORTFOLIO in config.export.format:
                packing.pack_front(target / PORTFOLIO, front)
            for number, (name, path) in enumerate(given.items() if forms else (), start=1):
                packing.pack(target / name, path, files[path], f"{number}/{len(given)}")
    return list(given.values())


def check_formats(config: Config, archs: list[str] | None = None) -> list[str]:
    """The formats of single subnets that a config asks for.

    Raises:
        InputError: a package that one needs is not installed, or they do not go with arch files.
    """
    wanted = list(dict.fromkeys(config.export.format))
    if archs and not wanted:
        raise InputError("export.format: none given for the arch files: --format safetensors")
    if archs and PORTFOLIO in wanted:
        raise InputError("export.format: a portfolio is of the front; leave --archs out")
    forms: list[str] = [name for name in wanted if name != PORTFOLIO]
    for name in forms:
        try:
            check_packages(name)
        except InputError as error:
            raise InputError(f"export.format: {error}") from None
    return forms


def load_front(folder: RunFolder, config: Config) -> Front:
    """The front of the config's search.

    Raises:
        InputError: there is none yet.
    """
    path = folder.stage("search") / config.search.name / "front.yaml"
    if not path.exists():
        raise InputError(f"{path}: not there; search first: tokennas search CONFIG")
    return Front.load(path)


def write_arch(
    path: Path,
    arch: Arch,
    setup: Setup,
    config: Config,
    folder: RunFolder,
    *,
    origin: Mapping[str, Any],
    metrics: Mapping[str, Any] | None = None,
) -> None:
    """An arch file with the run's backbone, input and classes."""
    save_arch(
        arch,
        path,
        shape=setup.supernet.shape,
        **about(setup, config),
        metrics=metrics,
        origin={
            "run": folder.path.name,
            "search": config.search.name,
            "seed": config.seed,
            "supernet": digest(folder.stage("supernet") / WEIGHTS),
            "version": version("tokennas"),
            **origin,
        },
    )


def file_stem(entry: FrontEntry) -> str:
    """A name that sorts by MACs as people read them: `0452M_3f2a91`."""
    macs = entry.metrics["macs"]
    unit, size = ("M", 1e6) if macs >= 1e6 else ("k", 1e3)
    return f"{macs / size:07.2f}{unit}_{entry.identity[:6]}"


def _write_front(
    front: Front, target: Path, setup: Setup, config: Config, folder: RunFolder
) -> dict[str, Path]:
    """The arch files of a front, by name."""
    paths, tables = {}, tables_by_cost(config, folder)
    for entry in front.entries:
        path = target / f"{file_stem(entry)}.yaml"
        origin = {"trial": entry.trial, "identity": entry.identity}
        metrics = {"search": dict(entry.metrics), **latencies_of(entry, tables)}
        write_arch(path, entry.arch, setup, config, folder, metrics=metrics, origin=origin)
        paths[file_stem(entry)] = path
    front.save(target / "front.yaml")
    return paths
