"""The sandwich rule: the archs that a step trains, and the targets of each.

The largest arch learns from the labels (and a teacher). The smallest and some random archs are
distilled from its output, or learn from the labels, as the recipe or the task says. Random archs
cover the MACs evenly. Few of them would use the kernel of a late pooling, so every second one is
drawn among the archs that use one certain kernel. A recipe can leave out archs below a share of the
full network's MACs: the smallest is one just above it then.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from space.arch import Arch
from space.space import SearchSpace
from space.utils.errors import InputError
from supernet.data.loaders import Batch
from supernet.models.elastic import ElasticViT
from supernet.models.supernet import Supernet
from supernet.operators.registry import auxiliary_losses
from supernet.precision import autocast, decide_autocast
from supernet.tasks.base import Task
from supernet.training.recipe import Recipe, SupernetRecipe

Teacher = Callable[[Tensor], Tensor]


def draw_archs(space: SearchSpace, seed: int, step: int, recipe: SupernetRecipe) -> list[Arch]:
    """Draw the archs that a step trains besides the largest: the smallest, and random ones.

    A function of (seed, step). Random archs alternate between all archs and those that use one
    pooling kernel, each kernel in turn; all are drawn evenly over the MACs.
    """
    count, least = recipe.random_archs, (recipe.least_share or 0) * space.mac_bands.high
    # Constants in seeds keep random streams of one seed apart.
    rng = np.random.default_rng((seed, step, 0xA5))
    kernel_bands = [bands for bands in space.kernel_bands.values() if bands.high >= least]
    archs = [select_smallest(space, least, rng)]
    for draw in range(step * count, (step + 1) * count):
        bands = space.mac_bands
        if kernel_bands and draw % 2:
            cycle, position = divmod(draw // 2, len(kernel_bands))
            order = np.random.default_rng((seed, cycle, 0x1E)).permutation(len(kernel_bands))
            bands = kernel_bands[order[position]]
        archs.append(bands.sample_evenly(rng, least))
    return archs


def select_smallest(space: SearchSpace, least: float, rng: np.random.Generator) -> Arch:
    """Return the smallest arch, or a random one of little more than `least` MACs above it."""
    smaller = space.mac_bands.low < least
    return space.mac_bands.sample_cheap(rng, least) if smaller else space.smallest()


@dataclass(frozen=True)
class LabelStep:
    """The forward and backward passes of one arch, which learns from the labels.

    Args:
        model: A supernet or a subnet.
        task: The task.
        recipe: The recipe.
        teacher: Teacher of the arch; None for none.
    """

    model: ElasticViT
    task: Task
    recipe: Recipe
    teacher: Teacher | None = None

    def autocast(self, device: torch.device) -> AbstractContextManager[Any]:
        """Return the context of forward passes and losses on a device."""
        return autocast(device, decide_autocast(self.recipe.amp, device, self.model.shape.width).on)

    def learn_labels(
        self, batch: Batch, name: str, weight: float, arch: Arch | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Run the backward passes of an arch on the labels and a teacher, and of auxiliary losses.

        Args:
            batch: Images, targets as the task's `loss` takes them, and draws (B,).
            name: Name of the loss in the log.
            weight: Factor of the loss. Auxiliary losses are summed over the images instead.
            arch: The arch; None for a subnet's own.

        Returns:
            The output, detached, and the losses by name.
        """
        assert batch.draws is not None
        model, recipe = self.model, self.recipe
        # Auxiliary losses see a share of the images, by their draws, to bound memory.
        rows = (batch.draws < recipe.selector_share).to(batch.images.device)
        auxiliaries = auxiliary_losses(model, rows)

        def observe(i: int, query: Tensor, key: Tensor) -> None:
            for auxiliary in auxiliaries.values():
                auxiliary(i, query, key)

        with self.autocast(batch.images.device):
            tokens, steps = model.embed(batch.images), model.steps(arch)
            flow = model.run_blocks(tokens, steps, observe if auxiliaries else None)
            output = model.read_out(flow)
            teacher = self.teacher and self.teacher(batch.images)
            loss = self.blend(output, batch.targets, teacher, recipe.teacher_share)
        (loss * weight).backward()
        losses = {name: loss.detach()}
        for auxiliary_name, auxiliary in auxiliaries.items():
            if auxiliary.losses:
                # In the log `loss/selectors`, for example.
                losses[f"{auxiliary_name}s"] = torch.stack(auxiliary.losses).mean()
        return output.detach(), losses

    def blend(
        self, output: Tensor, targets: Tensor, teacher: Tensor | None, share: float
    ) -> Tensor:
        """Blend the losses on the labels and, with weight `share`, on a teacher's output."""
        if teacher is None or share == 0:
            return self.task.loss(output, targets)
        distillation = self.task.distillation(output, teacher)
        if share == 1:
            return distillation
        return (1 - share) * self.task.loss(output, targets) + share * distillation


@dataclass(frozen=True)
class Sandwich(LabelStep):
    """The forward and backward passes of a sandwich step of a supernet.

    Arguments are those of `LabelStep`; the teacher is the largest arch's.
    """

    model: Supernet
    recipe: SupernetRecipe

    def __call__(self, batch: Batch, archs: list[Arch], scale: float = 1.0) -> dict[str, Tensor]:
        """Run the backward passes of one batch; return the mean loss of each kind of arch.

        Args:
            batch: Images, targets as the task's `loss` takes them, and draws (B,).
            archs: The smallest and the random archs; if empty, only the largest is trained.
            scale: Factor of the losses, for gradient accumulation.
        """
        weight, largest = scale / (1 + len(archs)), self.model.space.largest()
        output, losses = self.learn_labels(batch, "largest", weight, largest)
        share = self.recipe.distill_share
        share = self.task.distill_share if share is None else share
        learned = []
        for arch in archs:
            with self.autocast(batch.images.device):
                loss = self.blend(self.model(batch.images, arch), batch.targets, output, share)
            (loss * weight).backward()
            learned.append(loss.detach())
        by_kind = {"smallest": learned[:1], "random": learned[1:]}
        return losses | {kind: torch.stack(each).mean() for kind, each in by_kind.items() if each}


def freeze(teacher: nn.Module | None) -> Teacher | None:
    """Return a frozen copy of a network in evaluation mode; None without one.

    Raises:
        InputError: It is a supernet, or another elastic model, without a default arch.
    """
    if isinstance(teacher, ElasticViT) and teacher.arch is None:
        raise InputError("teacher: is a supernet, which needs an arch; extract a subnet of it")
    return None if teacher is None else copy.deepcopy(teacher).eval().requires_grad_(False)
