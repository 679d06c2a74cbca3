"""Judging networks on held-out images that stay on the device."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from supernet.models.prefixes import Network
from supernet.precision import at_least_float32, autocast
from supernet.tasks.classification import Classification


class Held(NamedTuple):
    """A batch of held-out images, with the full network's logits where they are known."""

    images: Tensor
    targets: Tensor
    reference: Tensor | None


class HeldOut:
    """Held-out images on a device, to judge many networks on the same ones.

    Args:
        batches: (images, targets, ...) of a split, in order.
        task: what they are judged for.
        device: where the images stay.
        amp: bfloat16 autocast on GPUs.
    """

    def __init__(
        self,
        batches: Iterable[Any],
        task: Classification,
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
        """Keep a network's logits, so that every measurement has `kl` to it."""
        self.batches = [
            batch._replace(reference=logits)
            for batch, logits in zip(self.batches, self.logits(network), strict=True)
        ]

    def logits(self, network: Network) -> Iterable[Tensor]:
        """A network's logits batch by batch, without gradients."""
        for batch in self.batches:
            with torch.inference_mode(), autocast(self.device, self.amp):
                yield at_least_float32(self._run(network, batch.images))

    def _run(self, network: Network, images: Tensor) -> Tensor:
        """A network's output, in as many parts as it takes to fit into the device's memory.

        Raises:
            torch.OutOfMemoryError: not even one image fits.
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
        """The parts of a batch, the same tensors each time: networks know images by them."""
        if parts == 1:
            return (images,)
        size = -(-len(images) // parts)
        views = self._views.get(images, ())
        if not views or len(views[0]) != size:
            views = self._views[images] = images.split(size)
        return views

    def all_values(self, network: Network) -> dict[str, Tensor]:
        """The task's metrics of each image, (images,) by name, on the CPU."""
        parts = [
            self.task.measure(logits, batch.targets, batch.reference)
            for batch, logits in zip(self.batches, self.logits(network), strict=True)
        ]
        names = parts[0] if parts else ()
        return {name: torch.cat([part[name] for part in parts]).cpu().double() for name in names}

    def measure(self, network: Network) -> dict[str, float]:
        """The task's metrics, means over all images."""
        return {name: each.mean().item() for name, each in self.all_values(network).items()}
