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
from search.problem.latency_names import is_latency, measured_name
from search.utils.console import cell
from space.arch_file import ArchFile, parse_arch
from space.utils.atomic import make_folder, replacing
from space.utils.errors import InputError, one_line
from supernet.export.compare import Check, compare
from supernet.models.elastic import ElasticViT
from supernet.models.subnet import create_elastic, extract, narrow
from supernet.models.supernet import Supernet, check_shape
from supernet.weights import load_weights, tensor_bytes

WEIGHTS = "portfolio.safetensors"
# Metadata keys: an arch file of the first subnet, for backbone, input and classes; and a digest
# of the front that the weights belong to, since the two files cannot be replaced at once.
ABOUT, MADE_FOR = "arch", "front"


class Served:
    """A subnet of a portfolio: images (B, C, H, W) to logits (B, classes).

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
            tokens = model.run_blocks(model.embed(images), self._steps)
            return model.forward_head(model.norm(tokens))

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
            raise InputError("a portfolio's network is one to evaluate: call supernet.eval()")
        if not front.entries:
            raise InputError("a portfolio needs subnets: the front is empty")
        check_shape(model.shape, front.shape, "the front")
        self.model = model
        self.front = front
        self.classes = classes
        self._served = {each.identity: Served(model, each) for each in front.entries}

    @classmethod
    def load(cls, folder: str | Path, device: str | torch.device = "cpu") -> Portfolio:
        """Read a folder that `save_portfolio`, or `tokennas export --format portfolio`, wrote.

        Raises:
            InputError: A file is invalid, or the files do not belong together.
        """
        front, weights = Front.load(Path(folder) / FRONT), Path(folder) / WEIGHTS
        file, made_for = _about(weights)
        if made_for != _digest(front):
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

    def __iter__(self) -> Iterator[Served]:
        return iter(self._served.values())

    def at(self, **limits: float | str) -> Served:
        """Return the best subnet within limits: `macs="60%"`, `latency_ms=5`.

        The first measured objective ranks subnets. Names are those of the front's metrics, and
        `flops`. Limits are upper ones, or lower ones where more is better. Latency limits apply
        to measured latencies where all subnets have one, else to predicted ones.

        Raises:
            InputError: A limit is invalid, no subnet meets all, or no objective is measured.
        """
        kept: dict[str, float | str] = {}
        for given, amount in limits.items():
            name, limit = given, amount
            if is_latency(given) and all(given in each.entry.measured for each in self):
                name = measured_name(given)
                limit = parse_amount(given, amount, self.front.full.get(given))
            # `latency_ms` and `measured_latency_ms` may both be given: the tighter limit holds.
            if name in kept:
                limit = min(parse_amount(name, each, None) for each in (limit, kept[name]))
            kept[name] = limit
        entry = self.front.best(**kept)
        if entry is None:
            raise InputError(f"portfolio: none is within {self._reach(kept)}")
        return self._served[entry.identity]

    def _reach(self, limits: Mapping[str, float | str]) -> str:
        """Format limits with the subnets' range: `macs=5% (theirs: 0.2G to 1.1G)`."""
        parts = []
        for name, amount in limits.items():
            cost, scale = ("macs", 2) if name == "flops" else (name, 1)
            metrics = [each.entry.metrics for each in self]
            found = [scale * each[cost] for each in metrics if cost in each]
            reach = f"{cell(name, min(found))} to {cell(name, max(found))}" if found else "unknown"
            parts.append(f"{name}={amount} (theirs: {reach})")
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
        The comparison of each subnet; empty where the folder holds this portfolio already.

    Raises:
        InputError: The front is empty or of other archs, `about` is invalid, a subnet differs from
            the extracted one, or the files cannot be written.
    """
    check_shape(supernet.shape, front.shape, "the front")
    place, front = Path(folder), front.thin_out()
    if not front.entries:
        raise InputError(f"{place}: the front is empty: nothing to export")
    archs = [entry.arch for entry in front.entries]
    first = json.dumps(ArchFile(archs[0], front.shape, **about).to_dict())
    file = parse_arch(json.loads(first), str(place))
    metadata = {ABOUT: first, MADE_FOR: _digest(front)}
    data = tensor_bytes(narrow(supernet, archs).state_dict(), metadata)
    model = create_elastic(file, str(place), archs)
    model.load_state_dict(load(data))
    portfolio = Portfolio(model.eval().requires_grad_(False), front, tuple(file.classes))
    if _holds(place, portfolio):
        return []
    checks = []
    for served in portfolio:
        subnet = extract(supernet, served.entry.arch).cpu().float()
        checks.append(compare(subnet, served.forward_with_choices, images.cpu().float()))
        if not checks[-1].equal:
            raise InputError(f"{place}: not written: {served.entry.identity}: {checks[-1]}")
    make_folder(place)
    with replacing(place / WEIGHTS) as written:
        written.write(data)
    front.save(place / FRONT)
    return checks


def _holds(place: Path, portfolio: Portfolio) -> bool:
    """Return whether the folder holds this portfolio already."""
    try:
        found = Portfolio.load(place)
    except InputError:
        return False
    own, there = portfolio.model.state_dict(), found.model.state_dict()
    same = portfolio.front == found.front and portfolio.classes == found.classes
    return same and all(torch.equal(each, there[name]) for name, each in own.items())


def _digest(front: Front) -> str:
    """Hash a front's backbone, subnets and metrics."""
    entries = [
        (each.identity, sorted((name, float(value)) for name, value in each.metrics.items()))
        for each in front.entries
    ]
    return hashlib.sha256(repr((front.shape, entries)).encode()).hexdigest()[:16]


def _about(path: Path) -> tuple[ArchFile, str]:
    """Read the metadata of a portfolio's weights: the arch file, and the digest of the front."""
    try:
        with path.open("rb"), safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
        about = parse_arch(json.loads(metadata.get(ABOUT, "")), str(path))
        return about, metadata.get(MADE_FOR, "")
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {one_line(error)}") from None
    except (SafetensorError, json.JSONDecodeError, RecursionError) as error:
        raise InputError(f"{path}: no weights of a portfolio: {one_line(error)}") from None
