"""The sandwich rule: which archs a step trains, and what each learns from.

The largest arch learns from the labels (and a teacher); the smallest and some random ones learn
from the largest's soft labels, in place. Random archs cover evenly the MACs and, since few archs
of an even draw use a late pooling's kernel, in turn with that what has weights of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from space.arch import Arch
from space.space import SearchSpace
from supernet.data.loaders import Batch
from supernet.models.supernet import Supernet
from supernet.operators.base import Auxiliary, Observer
from supernet.operators.registry import auxiliary_losses
from supernet.precision import autocast
from supernet.tasks.classification import Classification

Teacher = Callable[[Tensor], Tensor]


def archs_of_step(space: SearchSpace, seed: int, step: int, random: int) -> list[Arch]:
    """The archs that learn from the largest at a step: a function of (seed, step).

    Every second random arch is drawn from all archs, and every other one from those that use one
    pooling kernel, each kernel as often as the others; all of them evenly over the MACs.
    """
    rng = np.random.default_rng((seed, step, 0xA5))
    learned = list(space.kernel_bands.values())
    archs = [space.smallest()]
    for turn in range(step * random, (step + 1) * random):
        bands = space.mac_bands
        if learned and turn % 2:
            cycle, place = divmod(turn // 2, len(learned))
            order = np.random.default_rng((seed, cycle, 0x1E)).permutation(len(learned))
            bands = learned[order[place]]
        archs.append(bands.sample_evenly(rng))
    return archs


@dataclass(frozen=True)
class Sandwich:
    """Accumulates the gradients of a step.

    Args:
        supernet: the network.
        task: what it learns.
        amp: bfloat16 autocast on GPUs.
        selector_share: share of the images that the selectors learn from; targets are detached,
            so a part is enough, and memory stays bounded.
        teacher: gives soft labels for the largest arch.
        teacher_share: share of the teacher in the largest's loss.
    """

    supernet: Supernet
    task: Classification
    amp: bool = True
    selector_share: float = 0.25
    teacher: Teacher | None = None
    teacher_share: float = 0.5

    def __call__(self, batch: Batch, archs: list[Arch], scale: float = 1.0) -> dict[str, Tensor]:
        """Propagate the losses of one batch; returns the mean loss of each kind of arch.

        Gradients are of means over the images, those of the selectors of sums.

        Args:
            batch: images, labels (B,) or mixed labels (B, classes), and draws.
            archs: the smallest and the random ones; where empty, the largest learns alone.
            scale: factor of the losses of archs, for accumulation.
        """
        weight = scale / (1 + len(archs))
        auxiliaries = auxiliary_losses(self.supernet, learning_rows(batch, self.selector_share))
        logits, loss = self._largest(batch, observer_of(auxiliaries))
        (loss * weight).backward()
        losses = {"largest": [loss.detach()]} | losses_of(auxiliaries)
        for kind, arch in zip(["smallest"] + ["random"] * len(archs), archs, strict=False):
            with autocast(batch.images.device, self.amp):
                loss = self.task.distillation(self.supernet(batch.images, arch), logits)
            (loss * weight).backward()
            losses.setdefault(kind, []).append(loss.detach())
        return {kind: torch.stack(each).mean() for kind, each in losses.items()}

    def _largest(self, batch: Batch, observer: Observer | None) -> tuple[Tensor, Tensor]:
        """Logits of the full network, and its loss; the operators learn on the way."""
        supernet = self.supernet
        with autocast(batch.images.device, self.amp):
            full = supernet.space.largest()
            features = supernet.forward_features(batch.images, full, observer)
            logits = supernet.forward_head(features)
            loss = self.task.loss(logits, batch.targets)
            if self.teacher is not None:
                soft = self.task.distillation(logits, self.teacher(batch.images))
                loss = (1 - self.teacher_share) * loss + self.teacher_share * soft
        return logits.detach(), loss


def learning_rows(batch: Batch, share: float) -> Tensor:
    """The images that auxiliary losses learn from, (B,) of bool: chosen by sample and epoch."""
    assert batch.draws is not None
    return (batch.draws < share).to(batch.images.device)


def observer_of(auxiliaries: Mapping[str, Auxiliary]) -> Observer | None:
    """What shows the full network's blocks to all auxiliary losses; None without any."""
    if not auxiliaries:
        return None

    def observe(i: int, query: Tensor, key: Tensor) -> None:
        for auxiliary in auxiliaries.values():
            auxiliary(i, query, key)

    return observe


def losses_of(auxiliaries: Mapping[str, Auxiliary]) -> dict[str, list[Tensor]]:
    """The auxiliary losses of a step under the names of the log: `selectors`."""
    return {f"{name}s": each.losses for name, each in auxiliaries.items() if each.losses}
