"""Portfolios: all subnets of a front over one set of weights, chosen by budget at each call."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load
from torch import Tensor

from search.front.front import Front
from search.front.front_file import FRONT, FrontEntry
from search.problem.budget import parse_amount
from search.problem.costs import is_latency, measured_name
from search.utils.console import cell
from space.arch_file import ArchFile, parse_arch
from space.utils.atomic import make_folder, replacing
from space.utils.errors import InputError, one_line
from supernet.export.compare import Check, compare
from supernet.models.elastic import ElasticViT
from supernet.models.subnet import create_elastic, extract
from supernet.models.supernet import Supernet, canonical, check_shape
from supernet.weights import load_weights, tensor_bytes

WEIGHTS = "portfolio.safetensors"
# Metadata keys: an arch file of the first subnet, for backbone, input and classes; and a digest
# of the front that the weights belong to, since the two files cannot be replaced at once.
ARCH_KEY, FRONT_KEY = "arch", "front"


class PortfolioSubnet:
    """A subnet of a portfolio: images (B, C, H, W) to logits (B, classes), or to a map.

    Args:
        model: Model with the weights, shared by all subnets.
        entry: Front entry of the subnet.
    """

    def __init__(self, model: ElasticViT, entry: FrontEntry) -> None:
        self.entry = entry
        self._model = model
        self._steps = model.steps(entry.arch)

    def __call__(self, images: Tensor) -> Tensor:
        """Compute logits without gradients; safe to call from several threads at once."""
        model = self._model
        with torch.inference_mode():
            return model.read_out(model.run_blocks(model.embed(images), self._steps))

    def forward_with_choices(self, images: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Compute logits, and the patch tokens (B, K) that each run of blocks selects."""
        return self._model.forward_with_choices(images, self.entry.arch)


class Portfolio:
    """The subnets of a front over one set of weights.

    Switching copies nothing and sets no state, so threads can use different subnets at once.

    Args:
        model: Supernet in eval mode that supports the front's archs, on its device.
        front: Front of the subnets.
        classes: Class names in the order of the logits, where known.

    Raises:
        InputError: The model is in training mode, of another shape, or does not support an arch.
    """

    def __init__(self, model: ElasticViT, front: Front, classes: tuple[str, ...] = ()) -> None:
        if model.training:
            raise InputError("a portfolio's supernet must be in eval mode: call supernet.eval()")
        if not front.entries:
            raise InputError("a portfolio needs subnets: the front is empty")
        check_shape(model.shape, front.shape, "the front")
        self.model = model
        self.front = front
        self.classes = classes
        self._subnets = {each.identity: PortfolioSubnet(model, each) for each in front.entries}

    @classmethod
    def load(cls, folder: str | Path, device: str | torch.device = "cpu") -> Portfolio:
        """Read a folder written by `save_portfolio` or `tokennas export --format portfolio`.

        Raises:
            InputError: A file is invalid, or the files do not belong together.
        """
        front, weights = Front.load(Path(folder) / FRONT), Path(folder) / WEIGHTS
        file, digest = _read_metadata(weights)
        if digest != _digest(front):
            raise InputError(
                f"{weights}: was not written for the {FRONT} beside it; export the portfolio again"
            )
        archs = [entry.arch for entry in front.entries]
        model = create_elastic(file, str(weights), archs)
        load_weights(model, weights)
        model.eval().requires_grad_(False).to(device)
        return cls(model, front, tuple(file.classes))

    def __len__(self) -> int:
        return len(self.front)

    def __iter__(self) -> Iterator[PortfolioSubnet]:
        return iter(self._subnets.values())

    def at(self, **limits: float | str) -> PortfolioSubnet:
        """Return the best subnet within limits: `macs="60%"`, `latency_ms=5`.

        The first measured objective ranks subnets. Names are those of the front's metrics, and
        `flops`. Limits are upper ones, or lower ones if more is better. Latency limits apply
        to measured latencies if all subnets have one, else to predicted ones.

        Raises:
            InputError: A limit is invalid, no subnet meets all, or no objective is measured.
        """
        applied: dict[str, float | str] = {}
        for requested, amount in limits.items():
            name, limit = requested, amount
            if is_latency(requested) and all(requested in each.entry.measured for each in self):
                name = measured_name(requested)
                limit = parse_amount(requested, amount, self.front.full.get(requested))
            # `latency_ms` and `measured_latency_ms` may both be given: the tighter limit holds.
            if name in applied:
                limit = min(parse_amount(name, each, None) for each in (limit, applied[name]))
            applied[name] = limit
        entry = self.front.best(**applied)
        if entry is None:
            raise InputError(f"portfolio: none is within {self._describe_limits(applied)}")
        return self._subnets[entry.identity]

    def _describe_limits(self, limits: Mapping[str, float | str]) -> str:
        """Format limits with the subnets' range: `macs=5% (theirs: 0.2G to 1.1G)`."""
        parts = []
        for name, amount in limits.items():
            cost, scale = ("macs", 2) if name == "flops" else (name, 1)
            metrics = [each.entry.metrics for each in self]
            values = [scale * each[cost] for each in metrics if cost in each]
            ends = [cell(name, end(values)) for end in (min, max) if values]
            parts.append(f"{name}={amount} (theirs: {' to '.join(ends) or 'unknown'})")
        return ", ".join(parts)


def save_portfolio(
    supernet: Supernet,
    front: Front,
    folder: str | Path,
    about: Mapping[str, Any],
    images: Tensor,
) -> list[Check]:
    """Write a front, and one file with the supernet weights that its archs use.

    Args:
        supernet: Trained supernet in eval mode.
        front: Front of the supernet's archs.
        folder: Output folder.
        about: `backbone`, `input` and `classes`, as in arch files.
        images: Real images, (n, C, H, W), on which each subnet is compared with the extracted one.

    Returns:
        The comparison of each subnet; empty if the folder holds this portfolio already.

    Raises:
        InputError: The front is empty or of other archs, `about` is invalid, a subnet differs from
            the extracted one, or the files cannot be written.
    """
    check_shape(supernet.shape, front.shape, "the front")
    path, front = Path(folder), front.thin_out()
    if not front.entries:
        raise InputError(f"{path}: the front is empty: nothing to export")
    archs = [entry.arch for entry in front.entries]
    arch_json = json.dumps(ArchFile(archs[0], front.shape, **about).to_dict())
    file = parse_arch(json.loads(arch_json), str(path))
    metadata = {ARCH_KEY: arch_json, FRONT_KEY: _digest(front)}
    model = create_elastic(file, str(path), [canonical(supernet.space, arch) for arch in archs])
    used, weights = model.state_dict(), supernet.state_dict().items()
    data = tensor_bytes({name: each for name, each in weights if name in used}, metadata)
    if _is_saved(path, data, front):
        return []
    model.load_state_dict(load(data))
    portfolio = Portfolio(model.eval().requires_grad_(False), front, tuple(file.classes))
    checks = []
    for served in portfolio:
        subnet = extract(supernet, served.entry.arch).cpu().float()
        checks.append(compare(subnet, served.forward_with_choices, images.cpu().float()))
        if not checks[-1].equal:
            raise InputError(f"{path}: not written: {served.entry.identity}: {checks[-1]}")
    make_folder(path)
    with replacing(path / WEIGHTS) as weights_file:
        weights_file.write(data)
    front.save(path / FRONT)
    return checks


def _is_saved(folder: Path, weights: bytes, front: Front) -> bool:
    """Return whether the folder holds a portfolio of these weights, with metadata, and front."""
    try:
        return (folder / WEIGHTS).read_bytes() == weights and Front.load(folder / FRONT) == front
    except (OSError, InputError):
        return False


def _digest(front: Front) -> str:
    """Hash a front's backbone, subnets and metrics."""
    entries = [
        (each.identity, sorted((name, float(value)) for name, value in each.metrics.items()))
        for each in front.entries
    ]
    return hashlib.sha256(repr((front.shape, entries)).encode()).hexdigest()[:16]


def _read_metadata(path: Path) -> tuple[ArchFile, str]:
    """Read the metadata of a portfolio's weights: the arch file, and the digest of the front."""
    try:
        with path.open("rb"), safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
        if ARCH_KEY not in metadata:
            raise InputError(f"{path}: no weights of a portfolio: its metadata lack {ARCH_KEY!r}")
        return parse_arch(json.loads(metadata[ARCH_KEY]), str(path)), metadata.get(FRONT_KEY, "")
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {one_line(error)}") from None
    except (SafetensorError, json.JSONDecodeError, RecursionError) as error:
        raise InputError(f"{path}: no weights of a portfolio: {one_line(error)}") from None
