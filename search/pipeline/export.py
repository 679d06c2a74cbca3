"""Stage three: export of the front's archs as arch files, and of their subnets."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from search.front.front import Front
from search.front.front_file import FRONT
from search.pipeline.choose import check_names
from search.pipeline.config import Config, SearchConfig
from search.pipeline.context import SUPERNET_SECTIONS, RunContext
from search.pipeline.latencies import format_latencies, tables_by_cost
from search.pipeline.named_archs import NamedArch, file_stem, read_archs
from search.pipeline.pack import Packer, is_package
from search.pipeline.search import check_front
from search.utils.console import print_line
from search.utils.file_lock import FolderLock
from space.arch import Arch
from space.arch_file import save_arch
from space.utils.atomic import file_errors, make_folder
from space.utils.errors import InputError, naming
from supernet.export import check_packages

PORTFOLIO = "portfolio"


def export(run: RunContext, archs: list[str]) -> None:
    """Write an arch file for each point of the front, and `front.yaml` beside them.

    Files of an earlier export are removed where their arch is no longer on the front. In the
    config's formats, the subnet of each point is written too, or of each arch file in `archs`. The
    format `portfolio` writes the front over one set of weights; an existing portfolio is rewritten.

    Raises:
        InputError: The front or the trained supernet is missing, an arch file is invalid, or a
            file cannot be written or its outputs differ from the subnet's.
    """
    config, folder = run.config, run.folder
    formats = check_formats(config, archs)
    front = None if archs else load_front(run)
    named_archs = read_archs(archs)
    check_names(each.name for each in named_archs)
    run.load_trained()
    folder.claim("supernet", SUPERNET_SECTIONS)
    target = make_folder(folder.path / "export" / config.search.name)
    packer = Packer(run, formats)
    with FolderLock(target):
        if front is not None:
            named_archs = _write_front(run, front, target)
            # A portfolio of an earlier front would be taken for this one's.
            if PORTFOLIO in config.export.format or (target / PORTFOLIO / FRONT).exists():
                packer.pack_front(target / PORTFOLIO, front)
        if formats:
            for each in named_archs:
                packer.pack(target / each.name, each)


def check_formats(config: Config, archs: list[str] | None = None) -> list[str]:
    """Return a config's export formats of single subnets.

    Raises:
        InputError: A format's package is not installed, or the formats do not suit arch files.
    """
    requested = list(dict.fromkeys(config.export.format))
    if archs and (not requested or PORTFOLIO in requested):
        raise InputError("export.format: arch files need those of subnets, as --format safetensors")
    formats: list[str] = [name for name in requested if name != PORTFOLIO]
    for name in formats:
        with naming("export.format"):
            check_packages(name)
    return formats


def load_front(run: RunContext) -> Front:
    """Load the front of the config's search.

    Raises:
        InputError: The front is missing or empty.
    """
    path = run.folder.search / FRONT
    if not path.exists():
        name = run.config.search.name
        option = "" if name == SearchConfig.name else f" --search.name {name}"
        raise InputError(f"{path}: missing; run `tokennas search CONFIG{option}` first")
    front = Front.load(path)
    check_front(front, run.config.search)
    return front


def write_arch(
    run: RunContext,
    path: Path,
    arch: Arch,
    *,
    origin: Mapping[str, Any],
    metrics: Mapping[str, Any] | None = None,
) -> None:
    """Write an arch file with the run's backbone, input and classes."""
    full_origin = {
        "run": run.folder.path.name,
        "search": run.config.search.name,
        "seed": run.config.seed,
        "supernet": run.weights_digest,
        "version": version("tokennas"),
        **origin,
    }
    fields = run.arch_file_fields
    save_arch(arch, path, shape=run.space.shape, **fields, metrics=metrics, origin=full_origin)


def _write_front(run: RunContext, front: Front, target: Path) -> list[NamedArch]:
    """Write the arch files of a front, and remove those of an earlier one."""
    for line in remove_stale(target, front):
        print_line(run.console, line)
    # Saved first, so that a later export finds the arch files of an interrupted one.
    front.save(target / FRONT)
    paths, tables = [], tables_by_cost(run.folder)
    for entry in front.entries:
        path = target / f"{file_stem(entry)}.yaml"
        origin = {"trial": entry.trial, "identity": entry.identity}
        metrics = {"search": dict(entry.metrics), **format_latencies(entry, tables)}
        write_arch(run, path, entry.arch, metrics=metrics, origin=origin)
        paths.append(path)
    print_line(run.console, f"archs exported to {target}: {len(paths)}")
    return read_archs(paths)


def remove_stale(target: Path, front: Front) -> Iterator[str]:
    """Remove arch files and folders of archs that are only on the front of an earlier export.

    Files that the export did not write are kept, with the folder or arch file that they belong to.

    Args:
        target: Folder of the export, with the front of an earlier one.
        front: The current front.

    Yields:
        A line on the number of removed archs, and on each file or folder that was kept.

    Raises:
        InputError: The earlier front is invalid, or a file cannot be removed.
    """
    earlier = Front.load(target / FRONT).entries if (target / FRONT).exists() else ()
    current = set(map(file_stem, front.entries))
    removed = 0
    for stem in map(file_stem, earlier):
        path, folder = target / f"{stem}.yaml", target / stem
        if stem in current or not path.exists():
            continue
        if is_package(folder):
            with file_errors(folder, "removed"):
                shutil.rmtree(folder)
        elif folder.exists():
            yield f"{folder}: no longer on the front, but kept: it holds other files"
        others = [each for each in target.glob(f"{stem}.*") if each != path]
        if others:
            yield f"{path}: no longer on the front, but kept: {others[0].name} lies beside it"
            continue
        with file_errors(path, "removed"):
            path.unlink()
        removed += 1
    if removed:
        yield f"archs removed, which are no longer on the front: {removed}"
