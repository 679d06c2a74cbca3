"""Comparison of an exported network with its subnet, on real images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from supernet.backbones.dense_head import LOGITS
from supernet.models.elastic import ElasticViT

MAX_DIFFERENCE = 1e-4
MAX_DIFFERING = 1e-2
BATCH = 64

# Maps images (B, C, H, W) to the output and the selected patch tokens of each run, (B, K).
ExportedNetwork = Callable[[Tensor], tuple[Tensor, Sequence[Tensor]]]


class SubnetWithChoices(nn.Module):
    """A subnet that also returns the selected tokens, for the comparison."""

    def __init__(self, subnet: ElasticViT) -> None:
        super().__init__()
        self.subnet = subnet

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Map images (B, C, H, W) to the output, then the patch tokens (B, K) of each run."""
        output, chosen = self.subnet.forward_with_choices(x)
        return output, *chosen


@dataclass(frozen=True)
class Check:
    """The differences between an exported network and its subnet, in float32.

    Args:
        images: Number of images.
        runs: Number of runs for which the subnet selects tokens.
        differing: Number of (image, run) pairs with other selected tokens.
        difference: Greatest difference of the outputs, relative to the subnet's largest output,
            over the images with equal selections.
        output_name: Name of the output.
        batch: Batch size of the exported network; None for any.
    """

    images: int
    runs: int
    differing: int
    difference: float
    output_name: str = LOGITS
    batch: int | None = None

    @property
    def share(self) -> float:
        """Share of the (image, run) pairs with another selection; 0 without runs."""
        return self.differing / (self.images * self.runs) if self.runs else 0.0

    @property
    def equal(self) -> bool:
        return self.difference <= MAX_DIFFERENCE and self.share <= MAX_DIFFERING

    def __str__(self) -> str:
        text = f"{self.output_name} within {self.difference:.1e} on {self.images} images"
        if self.runs:
            pairs = self.images * self.runs
            text += f", another selection in {self.differing} of {pairs} (image, run) pairs"
        return text


def compare(
    subnet: ElasticViT, exported: ExportedNetwork, images: Tensor, batch_size: int | None = None
) -> Check:
    """Compare both on images (n, C, H, W).

    Args:
        subnet: The subnet.
        exported: The exported network.
        images: The images.
        batch_size: Batch size that the exported network takes; None for any: then one image comes
            first, and batches of the others.
    """
    largest, differences, differing, count = 0.0, [0.0], 0, len(images)
    if batch_size is not None:
        # The last batch is filled up with the first images, which do not count again.
        padded = -(-count // batch_size) * batch_size
        images = images[torch.arange(padded) % count]
    parts = (
        (images[:1], *images[1:].split(BATCH)) if batch_size is None else images.split(batch_size)
    )
    left = count
    for batch in filter(len, parts):
        new, left = min(len(batch), left), left - len(batch)
        with torch.inference_mode():
            expected, expected_choices = subnet.forward_with_choices(batch)
            output, choices = exported(batch)
        expected, output = expected[:new], output[:new]
        equal = torch.ones(new, dtype=torch.bool)
        for theirs, ours in zip(expected_choices, choices, strict=True):
            agrees = torch.eq(theirs, ours).all(dim=1)[:new]
            differing += int((~agrees).sum())
            equal &= agrees
        largest = max(largest, float(expected.abs().max()))
        difference = (expected - output)[equal].abs()
        # torch's maximum keeps NaN, Python's may drop it.
        differences.append(float(difference.max()) if difference.numel() else 0.0)
    # An untrained head of zeros has no largest output to divide by.
    greatest = float(torch.tensor(differences).max()) / (largest or 1.0)
    return Check(count, subnet.runs, differing, greatest, subnet.output_name, batch_size)
