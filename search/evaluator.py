"""Evaluating archs on a supernet: weights and held-out images once, archs many."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from search.config import Config
from search.stages.setup import trained
from space.arch import Arch
from supernet.evaluation import HeldOut
from supernet.model import Supernet
from supernet.task import Classification

Metric = Callable[[Tensor, Tensor], Mapping[str, float]]


class SupernetEvaluator:
    """The metrics of archs, on images that stay on the device; `kl` is to the full network.

    Args:
        supernet: trained, on its device.
        held_out: the images to judge on.
    """

    def __init__(self, supernet: Supernet, held_out: HeldOut) -> None:
        self.supernet = supernet.eval()
        self.held_out = held_out
        held_out.set_reference(partial(supernet, arch=supernet.space.largest()))

    def __call__(self, arch: Arch) -> dict[str, float]:
        """Metrics by name, means over the images."""
        return self.held_out.measure(partial(self.supernet, arch=arch))


def classification_evaluator(supernet: Supernet, loader: Iterable[Any]) -> SupernetEvaluator:
    """Judges a supernet's archs as classifiers, on a user's own loader of (images, targets)."""
    task = Classification([str(label) for label in range(supernet.num_classes)])
    device = next(supernet.parameters()).device
    return SupernetEvaluator(supernet, HeldOut(loader, task, device))


class LoaderEvaluator:
    """The same by a user's own loader and metric.

    Args:
        supernet: trained, on its device.
        loader: batches of (images, targets); read once.
        metric: given logits and targets of all images, gives metrics by name.
    """

    def __init__(self, supernet: Supernet, loader: Iterable[Any], metric: Metric) -> None:
        self.supernet = supernet.eval()
        self.metric = metric
        self.device = next(supernet.parameters()).device
        batches = list(loader)
        self.images = [images.to(self.device) for images, *_ in batches]
        self.targets = torch.cat([targets for _, targets, *_ in batches]).to(self.device)

    def __call__(self, arch: Arch) -> dict[str, float]:
        """Metrics by name."""
        with torch.inference_mode():
            logits = torch.cat([self.supernet(images, arch) for images in self.images])
        return {name: float(value) for name, value in self.metric(logits, self.targets).items()}


@dataclass(frozen=True)
class RunEvaluator:
    """Makes the evaluator of a run from its folder, in whichever process evaluates."""

    config: Config
    file: Path | None

    def __call__(self) -> SupernetEvaluator:
        """Load weights and images."""
        setup = trained(self.config, self.file)
        return SupernetEvaluator(setup.supernet, setup.held_out(self.config.supernet.amp))
