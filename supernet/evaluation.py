"""Evaluation of networks on held-out images that stay on the device."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from copy import copy
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from supernet.models.prefixes import Network
from supernet.precision import at_least_float32, autocast
from supernet.tasks.base import Task


class HeldOutBatch(NamedTuple):
    """A batch of held-out images; `reference` is the output stored by `set_reference`."""

    images: Tensor
    targets: Tensor
    reference: Tensor | None = None

    def halves(self) -> list[HeldOutBatch]:
        """Split the batch in two; a batch of one image stays as it is."""
        references = (None, None) if self.reference is None else self.reference.chunk(2)
        parts = zip(self.images.chunk(2), self.targets.chunk(2), references, strict=False)
        return [HeldOutBatch(*part) for part in parts]


class HeldOut:
    """Held-out images on a device, on which many networks are evaluated.

    Args:
        batches: Batches (images, targets, ...) of a split; those with maps of one size come to lie
            together, so that the order of the images does not depend on the batch size.
        task: The task, which has the metrics.
        device: Device of images and networks.
        amp: Whether networks run under bfloat16 autocast.
    """

    def __init__(
        self, batches: Iterable[Any], task: Task, device: torch.device, amp: bool = False
    ) -> None:
        self.task = task
        self.device = device
        self.amp = amp
        found = (HeldOutBatch(x.to(device), targets.to(device)) for x, targets, *_ in batches)
        self.batches = sorted(found, key=lambda batch: tuple(batch.targets.shape[1:]))

    def __len__(self) -> int:
        return sum(len(batch.targets) for batch in self.batches)

    def with_amp(self, amp: bool) -> Self:
        """Return the same images, with networks under bfloat16 autocast or not."""
        other = copy(self)
        other.amp = amp
        return other

    def set_reference(self, network: Network) -> None:
        """Store a network's output, to compare others with it (`kl`)."""
        self.batches = [batch._replace(reference=output) for batch, output in self.outputs(network)]

    def outputs(self, network: Network) -> Iterator[tuple[HeldOutBatch, Tensor]]:
        """Yield each batch with a network's output, without gradients.

        From a batch on that does not fit into the device's memory, batches are halved, and stay so:
        the same tensors come each time, as `PrefixEvaluator` caches by them.

        Raises:
            torch.OutOfMemoryError: Not even one image fits; the batches stay as they were.
        """
        batches, i = self.batches, 0
        while i < len(batches):
            try:
                with torch.inference_mode(), autocast(self.device, self.amp):
                    output = at_least_float32(network(batches[i].images))
            except torch.OutOfMemoryError:
                if len(batches[i].images) <= 1:
                    raise
                halves = [half for batch in batches[i:] for half in batch.halves()]
                batches = batches[:i] + halves
                torch.cuda.empty_cache()
            else:
                yield batches[i], output
                i += 1
        self.batches = batches

    def statistics(self, network: Network) -> dict[str, NDArray[np.float64]]:
        """Compute the task's statistics of each image, (images, ...) by name."""
        parts = [
            self.task.statistics(output, batch.targets, batch.reference)
            for batch, output in self.outputs(network)
        ]
        names = parts[0] if parts else ()
        return {
            name: torch.cat([part[name] for part in parts]).cpu().double().numpy() for name in names
        }

    def measure(self, network: Network) -> dict[str, float]:
        """Compute the task's metrics over all images."""
        return self.task.reduce(self.statistics(network))
