"""Evaluation of networks on held-out images that stay on the device."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from supernet.models.prefixes import Network
from supernet.precision import at_least_float32, autocast
from supernet.tasks.base import Task


class Held(NamedTuple):
    """A batch of held-out images, with the full network's output if `set_reference` was called."""

    images: Tensor
    targets: Tensor
    reference: Tensor | None


class HeldOut:
    """Held-out images on a device, to evaluate many networks.

    Args:
        batches: Batches (images, targets, ...) of a split.
        task: The task, which has the metrics.
        device: Device of images and networks.
        amp: Whether to use bfloat16 autocast on GPUs.
    """

    def __init__(
        self,
        batches: Iterable[Any],
        task: Task,
        device: torch.device,
        amp: bool = True,
    ) -> None:
        self.task = task
        self.device = device
        self.amp = amp
        self._parts = 1
        self._views: dict[Tensor, tuple[Tensor, ...]] = {}
        self.batches = [
            Held(images.to(device), targets.to(device), None) for images, targets, *_ in batches
        ]

    def __len__(self) -> int:
        return sum(len(batch.targets) for batch in self.batches)

    def set_reference(self, network: Network) -> None:
        """Store a network's output, to compare others with it (`kl`)."""
        self.batches = [
            batch._replace(reference=output)
            for batch, output in zip(self.batches, self.outputs(network), strict=True)
        ]

    def outputs(self, network: Network) -> Iterable[Tensor]:
        """Yield a network's output batch by batch, without gradients."""
        for batch in self.batches:
            with torch.inference_mode(), autocast(self.device, self.amp):
                yield at_least_float32(self._run(network, batch.images))

    def _run(self, network: Network, images: Tensor) -> Tensor:
        """Run a network, on as many parts of a batch as fit into the device's memory.

        Raises:
            torch.OutOfMemoryError: Not even one image fits.
        """
        parts = self._parts
        while True:
            try:
                found = [network(part) for part in self._split(images, parts)]
            except torch.OutOfMemoryError:
                if parts >= len(images):
                    raise
            else:
                self._parts = parts
                return torch.cat(found)
            parts *= 2
            if self.device.type == "cuda":
                torch.cuda.empty_cache()

    def _split(self, images: Tensor, parts: int) -> tuple[Tensor, ...]:
        """Split a batch, into the same tensors each time: `PrefixEvaluator` caches by them."""
        if parts == 1:
            return (images,)
        size = -(-len(images) // parts)
        views = self._views.get(images, ())
        if not views or len(views[0]) != size:
            views = self._views[images] = images.split(size)
        return views

    def statistics(self, network: Network) -> dict[str, NDArray[np.float64]]:
        """Compute the task's statistics of each image, (images, ...) by name."""
        parts = [
            self.task.statistics(output, batch.targets, batch.reference)
            for batch, output in zip(self.batches, self.outputs(network), strict=True)
        ]
        names = parts[0] if parts else ()
        return {
            name: torch.cat([part[name] for part in parts]).cpu().double().numpy() for name in names
        }

    def measure(self, network: Network) -> dict[str, float]:
        """Compute the task's metrics over all images."""
        return self.task.reduce(self.statistics(network))
