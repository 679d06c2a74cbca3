"""Folders of exported networks: weights, arch file, configuration and model card."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from search.front.front import Front
from search.pipeline.context import RunContext
from search.pipeline.given_archs import NamedArch
from search.pipeline.model_card import SUPERNET, render_portfolio_card, render_subnet_card
from search.pipeline.network_folder import ARCH, WEIGHTS
from search.portfolio import save_portfolio
from search.utils.console import print_line
from space.arch_file import ArchFile, load_arch, save_arch
from space.utils.atomic import make_folder, remove_half_written
from space.utils.errors import InputError
from space.utils.reader import open_json
from space.utils.yaml_file import write_text
from supernet.export import FORMATS, Check, export_subnet, hub_config
from supernet.models.elastic import ElasticViT
from supernet.models.subnet import create_subnet, extract
from supernet.models.supernet import check_shape
from supernet.weights import tensor_bytes

CONFIG, CARD = "config.json", "README.md"
# The `Record` of a folder.
RECORD = "export.json"
# Images of the search split to check each file on, and each subnet of a portfolio.
CHECKED, CHECKED_OF_FRONT = 256, 64


def load_subnet(run: RunContext, path: Path, file: ArchFile) -> tuple[ElasticViT, str]:
    """Load the subnet of an arch file in eval mode; return it and the source of its weights.

    Raises:
        InputError: Its classes are not those of the data, or its backbone is another one.
    """
    if len(file.classes) not in (0, len(run.task.classes)):
        raise InputError(f"{path}: knows {len(file.classes)} classes, {run.task.needs}")
    # Of the arch file's name, or those of its network's folder: retrained, or exported.
    names = [path.with_suffix(".safetensors").name]
    if path.name == ARCH:
        names += [WEIGHTS, FORMATS["safetensors"].file]
    weights = next((path.with_name(name) for name in names if path.with_name(name).exists()), None)
    if weights is not None:
        return create_subnet(path, weights).to(run.device).eval(), weights.name
    check_shape(run.supernet.shape, file.shape, str(path))
    return extract(run.supernet, file.arch).eval(), SUPERNET


@dataclass(frozen=True)
class Packing:
    """Writes the folders of exported networks.

    Args:
        run: The run, whose supernet is trained.
        forms: Formats to write.
    """

    run: RunContext
    forms: Sequence[str]

    def pack(self, place: Path, given: NamedArch) -> None:
        """Write the folder of an arch file's subnet; existing files are kept.

        Args:
            place: Folder of the network.
            given: The arch file.

        Raises:
            InputError: The folder holds another arch or other weights, or a file cannot be written.
        """
        run, file = self.run, given.file
        subnet, source = load_subnet(run, given.path, file)
        wanted, found = (subnet.in_chans, *subnet.patch_embed.img_size), self.images.shape[1:]
        if wanted != tuple(found):
            raise InputError(
                f"{given.path}: takes images of {wanted}, the data of this run has {tuple(found)}"
            )
        record = _claim(place, subnet, source)
        # Where the arch file lacks backbone, input or classes, those of the run hold.
        values = {key: getattr(file, key) or value for key, value in run.about.items()}
        assert subnet.arch is not None
        file = replace(file, arch=subnet.arch, **values)
        if record.source == SUPERNET and file.origin.get("supernet") != run.weights_digest:
            # Its metrics are those of other weights.
            file = replace(file, metrics={})
        save_arch(path=place / ARCH, **vars(file))
        config = hub_config(subnet, file)
        write_text(place / CONFIG, json.dumps(config, indent=2) + "\n")
        for name in self.forms:
            if name not in record.checks:
                there = place / FORMATS[name].file
                record.checks[name] = export_subnet(subnet, there, name, self.images, config)
                write_text(place / RECORD, json.dumps(asdict(record), indent=2) + "\n")
                print_line(run.console, f"{there}: {record.checks[name]}")
        text = render_subnet_card(
            f"{file.origin.get('run', 'tokennas')}-{place.name}",
            file,
            run.config,
            search_images=len(run.data.search_indices),
            checks=record.checks,
            source=record.source,
        )
        write_text(place / CARD, text)

    def pack_front(self, place: Path, front: Front) -> None:
        """Write the folder of a portfolio.

        Raises:
            InputError: See `save_portfolio`.
        """
        run, few = self.run, self.images[:CHECKED_OF_FRONT]
        checks = save_portfolio(run.supernet, front, place, run.about, few)
        name, images = f"{run.folder.path.name}-{place.name}", len(run.data.search_indices)
        write_text(place / CARD, render_portfolio_card(name, front, run.config, images))
        if checks:
            print_line(run.console, f"{place}: {len(checks)} subnets over one set of weights")

    @cached_property
    def images(self) -> Tensor:
        """The first images of the search split, preprocessed, (n, C, H, W)."""
        parts: list[Tensor] = []
        for images, *_ in self.run.data.search:
            parts.append(images)
            if sum(map(len, parts)) >= CHECKED:
                break
        return torch.cat(parts)[:CHECKED]


def is_package(place: Path) -> bool:
    """Return whether a path is the folder of an exported network, and holds nothing else."""
    written = {ARCH, CONFIG, CARD, RECORD, *(each.file for each in FORMATS.values())}
    if place.is_symlink() or not place.is_dir():
        return False
    return all(each.name in written or each.match(".*.part") for each in place.iterdir())


@dataclass(frozen=True)
class Record:
    """Contents of an exported network's folder.

    Args:
        weights: Digest of the weights.
        source: Source of the weights, see `load_subnet`.
        checks: Comparison of each file's outputs with the subnet's, by format.
    """

    weights: str
    source: str
    checks: dict[str, Check]


def _claim(place: Path, subnet: ElasticViT, source: str) -> Record:
    """Make the folder of a subnet, or read the record of an existing one.

    Raises:
        InputError: The folder holds another arch or other weights, or its record is invalid.
    """
    weights = hashlib.sha256(tensor_bytes(subnet.state_dict())).hexdigest()[:16]
    remove_half_written(make_folder(place))
    if (place / ARCH).exists() and load_arch(place / ARCH) != subnet.arch:
        raise InputError(f"{place}: holds another arch; move it away, or rename the arch file")
    if not (place / RECORD).exists():
        return Record(weights, source, {})
    given = open_json(place / RECORD).mapping("weights", "source", "checks")
    if given["weights"].value != weights:
        raise InputError(f"{place}: holds an export of other weights; move it away to export anew")
    names = [field.name for field in fields(Check)]
    checks = {}
    for name, each in given["checks"].entries().items():
        if name in FORMATS and (place / FORMATS[name].file).exists():
            check = each.mapping(*names)
            checks[name] = Check(**{key: value.value for key, value in check.items()})
    return Record(weights, given["source"].text(), checks)
