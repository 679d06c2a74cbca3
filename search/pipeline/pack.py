"""Folders of exported networks: weights, arch file, configuration and model card."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from search.front.front import Front
from search.pipeline.context import RunContext
from search.pipeline.model_card import SUPERNET, render_portfolio_card, render_subnet_card
from search.pipeline.named_archs import NamedArch
from search.pipeline.network_folder import ARCH, WEIGHTS
from search.portfolio import save_portfolio
from search.utils.console import print_line
from space.arch_file import ArchFile, load_arch, save_arch
from space.utils.atomic import make_folder, remove_half_written
from space.utils.errors import InputError, shown
from space.utils.reader import open_json
from space.utils.yaml_file import write_text
from supernet.backbones.dense_head import LOGITS
from supernet.export import FORMATS, Check, export_subnet, hub_config
from supernet.models.elastic import ElasticViT
from supernet.models.subnet import create_subnet, extract
from supernet.models.supernet import check_shape
from supernet.weights import tensor_bytes

CONFIG, CARD = "config.json", "README.md"
# The `ExportRecord` of a folder.
RECORD_FILE = "export.json"
# Number of search images to check each exported file on, and each subnet of a portfolio.
CHECK_IMAGES, PORTFOLIO_CHECK_IMAGES = 256, 64


def load_subnet(run: RunContext, path: Path, file: ArchFile) -> tuple[ElasticViT, str]:
    """Load the subnet of an arch file in eval mode; return it and the source of its weights.

    Raises:
        InputError: Its classes are not those of the data, or it is of another backbone.
    """
    if len(file.classes) not in (0, len(run.task.classes)):
        raise InputError(f"{path}: has {len(file.classes)} classes, {run.task.needs}")
    # Named as the arch file, or in its network's folder: retrained or exported weights.
    names = [path.with_suffix(".safetensors").name]
    if path.name == ARCH:
        names += [WEIGHTS, FORMATS["safetensors"].file]
    weights = next((path.with_name(name) for name in names if path.with_name(name).exists()), None)
    if weights is not None:
        subnet = create_subnet(path, weights)
        if not run.task.fits(subnet):
            raise InputError(f"{path}: has the head of another task; here {run.task.needs}")
        return subnet.to(run.device).eval(), weights.name
    check_shape(run.supernet.shape, file.shape, str(path))
    return extract(run.supernet, file.arch).eval(), SUPERNET


@dataclass(frozen=True)
class Packer:
    """Writer of the folders of exported networks.

    Args:
        run: The run, whose supernet is trained.
        formats: Formats to write.
    """

    run: RunContext
    formats: Sequence[str]

    def pack(self, folder: Path, named: NamedArch) -> None:
        """Write the folder of an arch file's subnet; existing files are kept.

        Args:
            folder: Folder of the network.
            named: The arch file.

        Raises:
            InputError: The folder holds another arch or other weights, or a file cannot be written.
        """
        run, file = self.run, named.file
        subnet, source = load_subnet(run, named.path, file)
        expected, size = (subnet.in_chans, *subnet.patch_embed.img_size), self.images.shape[1:]
        if expected != tuple(size):
            raise InputError(
                f"{named.path}: takes images of {expected}, the data of this run has {tuple(size)}"
            )
        record, batch = _claim(folder, subnet, source), run.config.export.batch
        for name in self.formats:
            if name in record.checks and FORMATS[name].takes_batch:
                _check_batch(folder / FORMATS[name].file, record.checks[name].batch, batch)
        # The run's backbone, input and classes fill in for missing ones of the arch file.
        values = {key: getattr(file, key) or value for key, value in run.arch_file_fields.items()}
        assert subnet.arch is not None
        file = replace(file, arch=subnet.arch, **values)
        if record.source == SUPERNET and file.origin.get("supernet") != run.weights_digest:
            # Its metrics were measured with other weights.
            file = replace(file, metrics={})
        save_arch(path=folder / ARCH, **vars(file))
        config = hub_config(subnet, file)
        write_text(folder / CONFIG, json.dumps(config, indent=2) + "\n")
        for name in self.formats:
            path = folder / FORMATS[name].file
            if name in record.checks:
                print_line(run.console, f"{path}: already exported")
            else:
                record.checks[name] = export_subnet(
                    subnet, path, name, self.images, config, batch=batch
                )
                write_text(folder / RECORD_FILE, json.dumps(asdict(record), indent=2) + "\n")
                print_line(run.console, f"{path}: {record.checks[name]}")
        text = render_subnet_card(
            f"{file.origin.get('run', 'tokennas')}-{folder.name}",
            file,
            run.config,
            search_images=len(run.data.search_indices),
            checks=record.checks,
            source=record.source,
        )
        write_text(folder / CARD, text)

    def pack_front(self, folder: Path, front: Front) -> None:
        """Write the folder of a portfolio.

        Raises:
            InputError: See `save_portfolio`.
        """
        run, images = self.run, self.images[:PORTFOLIO_CHECK_IMAGES]
        checks = save_portfolio(run.supernet, front, folder, run.arch_file_fields, images)
        name, count = f"{run.folder.path.name}-{folder.name}", len(run.data.search_indices)
        write_text(folder / CARD, render_portfolio_card(name, front, run.config, count))
        text = f"{len(checks)} subnets over one set of weights" if checks else "already exported"
        print_line(run.console, f"{folder}: {text}")

    @cached_property
    def images(self) -> Tensor:
        """The first images of the search split, preprocessed, (n, C, H, W)."""
        parts: list[Tensor] = []
        for images, *_ in self.run.data.search:
            parts.append(images)
            if sum(map(len, parts)) >= CHECK_IMAGES:
                break
        return torch.cat(parts)[:CHECK_IMAGES]


def is_package(folder: Path) -> bool:
    """Return whether a path is the folder of an exported network, and holds nothing else."""
    names = {ARCH, CONFIG, CARD, RECORD_FILE, *(each.file for each in FORMATS.values())}
    if folder.is_symlink() or not (folder / ARCH).is_file():
        return False
    return all(each.name in names or each.match(".*.part") for each in folder.iterdir())


@dataclass(frozen=True)
class ExportRecord:
    """Contents of an exported network's folder.

    Args:
        weights: Digest of the weights.
        source: Source of the weights, see `load_subnet`.
        checks: Comparison of each file's outputs with the subnet's, by format.
    """

    weights: str
    source: str
    checks: dict[str, Check]


def _check_batch(path: Path, before: int | None, batch: int | None) -> None:
    """Refuse to keep a program of another batch size than the one that is wanted."""
    if before != batch:
        raise InputError(
            f"{path}: was exported with export.batch {shown(before)}, not {shown(batch)}; move it "
            "away to replace it"
        )


def _claim(folder: Path, subnet: ElasticViT, source: str) -> ExportRecord:
    """Make the folder of a subnet, or read the record of an existing one.

    Raises:
        InputError: The folder holds another arch or other weights, or its record is invalid.
    """
    weights = hashlib.sha256(tensor_bytes(subnet.state_dict())).hexdigest()[:16]
    remove_half_written(make_folder(folder))
    if (folder / ARCH).exists() and load_arch(folder / ARCH) != subnet.arch:
        raise InputError(f"{folder}: holds another arch; move it away, or rename the arch file")
    if not (folder / RECORD_FILE).exists():
        return ExportRecord(weights, source, {})
    stored = open_json(folder / RECORD_FILE).mapping("weights", "source", "checks")
    if stored["weights"].value != weights:
        raise InputError(f"{folder}: holds an export of other weights; move it away to replace it")
    # Those of earlier versions had logits, for any batch size.
    optional: dict[str, Any] = {"output_name": LOGITS, "batch": None}
    names = {field.name for field in fields(Check)} - optional.keys()
    checks = {}
    for name, each in stored["checks"].entries().items():
        if name in FORMATS and (folder / FORMATS[name].file).exists():
            check = each.mapping(*names, **optional)
            checks[name] = Check(**{key: value.value for key, value in check.items()})
    return ExportRecord(weights, stored["source"].text(), checks)
