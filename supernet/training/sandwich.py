"""The sandwich rule: the archs that a step trains, and the targets of each.

The largest arch learns from the labels (and a teacher); the smallest and some random archs are
distilled from its logits. Random archs cover the MACs evenly. Few of them would use the kernel of a
late pooling, so every second one is drawn among the archs that use a given kernel.
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
from supernet.tasks.base import Task

Teacher = Callable[[Tensor], Tensor]


def draw_archs(space: SearchSpace, seed: int, step: int, random: int) -> list[Arch]:
    """Draw the archs that a step distils from the largest; a function of (seed, step).

    Random archs alternate between all archs and those that use one pooling kernel, each kernel in
    turn; all are drawn evenly over the MACs.
    """
    # Constants in seeds keep random streams of one seed apart.
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
    """Runs forward and backward passes of a sandwich step.

    Args:
        supernet: The supernet.
        task: The task.
        amp: Whether to use bfloat16 autocast on GPUs.
        selector_share: Share of the images that selectors learn from; it bounds the memory.
        teacher: Teacher of the largest arch.
        teacher_share: Weight of distillation from the teacher in the largest arch's loss.
    """

    supernet: Supernet
    task: Task
    amp: bool = True
    selector_share: float = 0.25
    teacher: Teacher | None = None
    teacher_share: float = 0.5

    def __call__(self, batch: Batch, archs: list[Arch], scale: float = 1.0) -> dict[str, Tensor]:
        """Run the backward passes of one batch; returns the mean loss of each kind of arch.

        Losses are means over the images; those of selectors are sums.

        Args:
            batch: Images, labels (B,) or mixed labels (B, classes), and draws.
            archs: The smallest and the random archs; if empty, only the largest is trained.
            scale: Factor of the losses, for gradient accumulation.
        """
        weight = scale / (1 + len(archs))
        auxiliaries = auxiliary_losses(self.supernet, select_images(batch, self.selector_share))
        logits, loss = self._largest(batch, make_observer(auxiliaries))
        (loss * weight).backward()
        losses = {"largest": [loss.detach()]} | read_losses(auxiliaries)
        for kind, arch in zip(["smallest"] + ["random"] * len(archs), archs, strict=False):
            with autocast(batch.images.device, self.amp):
                loss = self.task.distillation(self.supernet(batch.images, arch), logits)
            (loss * weight).backward()
            losses.setdefault(kind, []).append(loss.detach())
        return {kind: torch.stack(each).mean() for kind, each in losses.items()}

    def _largest(self, batch: Batch, observer: Observer | None) -> tuple[Tensor, Tensor]:
        """Return logits and loss of the largest arch; `observer` runs the auxiliary losses."""
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


def select_images(batch: Batch, share: float) -> Tensor:
    """Return which images auxiliary losses use, (B,) of bool, fixed by sample and epoch."""
    assert batch.draws is not None
    return (batch.draws < share).to(batch.images.device)


def make_observer(auxiliaries: Mapping[str, Auxiliary]) -> Observer | None:
    """Return an observer that calls all auxiliary losses; None without any."""
    if not auxiliaries:
        return None

    def observe(i: int, query: Tensor, key: Tensor) -> None:
        for auxiliary in auxiliaries.values():
            auxiliary(i, query, key)

    return observe


def read_losses(auxiliaries: Mapping[str, Auxiliary]) -> dict[str, list[Tensor]]:
    """Return the values of the auxiliary losses, by their names in the log (`selectors`)."""
    return {f"{name}s": each.losses for name, each in auxiliaries.items() if each.losses}
