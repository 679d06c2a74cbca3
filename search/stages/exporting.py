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
from search.stages.searching import digest
from search.stages.setup import WEIGHTS, Setup, trained
from space.arch import Arch
from space.errors import InputError
from space.files import save_arch
from space.writing import make_folder
from supernet.extraction import extract
from supernet.weights import save_weights


def export(config: Config, file: Path | None, console: Console) -> list[Path]:
    """Write one arch file for each point of the front, and `front.yaml` beside them.

    Raises:
        InputError: there is no front, or no trained supernet, or a file cannot be written.
    """
    folder = RunFolder(config, file)
    front = load_front(folder, config)
    setup = trained(config, file)
    target = make_folder(folder.stage("export") / config.search.name)
    paths = []
    for entry in front.entries:
        path = target / f"{file_stem(entry)}.yaml"
        origin = {"trial": entry.trial, "identity": entry.identity}
        metrics = {"search": dict(entry.metrics)}
        write_arch(path, entry.arch, setup, config, folder, metrics=metrics, origin=origin)
        if config.export.weights:
            save_weights(extract(setup.supernet, entry.arch), path.with_suffix(".safetensors"))
        paths.append(path)
    front.save(target / "front.yaml")
    noun = "arch" if len(paths) == 1 else "archs"
    console.print(f"exported {len(paths)} {noun} to {target}", markup=False)
    return paths


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
    classes = list(setup.data.classes)
    save_arch(
        arch,
        path,
        shape=setup.supernet.shape,
        backbone={
            "model": config.backbone.model,
            "args": {**config.backbone.args, "num_classes": len(classes)},
        },
        input=setup.data.input,
        classes=classes,
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
