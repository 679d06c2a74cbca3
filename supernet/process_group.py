"""Data parallel training: every process trains the same archs on its share of each batch.

DistributedDataParallel averages at every backward pass, and a step of the sandwich has several;
here the gradients that exist are added up once, when all passes are done. A parameter that no arch
of the step uses keeps no gradient, so the optimiser leaves it alone, as in one process.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from space.utils.errors import one_line
from space.utils.signals import ProcessLostError


@contextmanager
def _lost() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise ProcessLostError(
            "another process of the training has ended; start all of them again, and they go on "
            f"from the last checkpoint ({one_line(error)})"
        ) from None


@dataclass(frozen=True)
class Processes:
    """The processes of a training, and which of them this is.

    Args:
        rank: of this process; the first one judges, shows and saves.
        count: of all.
    """

    rank: int = 0
    count: int = 1

    @classmethod
    def current(cls) -> Processes:
        """Those of torch's default process group; one where there is none."""
        if dist.is_available() and dist.is_initialized():
            return cls(dist.get_rank(), dist.get_world_size())
        return cls()

    @property
    def first(self) -> bool:
        return self.rank == 0

    def equalise(self, model: nn.Module) -> None:
        """Give every process the weights of the first."""
        if self.count > 1:
            with _lost():
                for tensor in (*model.parameters(), *model.buffers()):
                    dist.broadcast(tensor.detach(), src=0)

    def told(self, value: Any) -> Any:
        """What the first process has for `value`."""
        if self.count == 1:
            return value
        held = [value if self.first else None]
        with _lost():
            dist.broadcast_object_list(held, src=0)
        return held[0]

    def told_by_all(self, value: Any) -> list[Any]:
        """What each process has for `value`, in the order of their ranks."""
        held = [value] * self.count
        if self.count > 1:
            with _lost():
                dist.all_gather_object(held, value)
        return held

    def reduce(
        self,
        parameters: list[nn.Parameter],
        summed: list[nn.Parameter],
        images: Tensor,
        stop: bool = False,
    ) -> bool:
        """Make the gradients those of the joined batch.

        Args:
            parameters: whose gradients are of a mean over this process's images.
            summed: whose gradients are of a sum over those `images` of this process that they
                learned from; a process without any has none.
            images: how many those are, a scalar.
            stop: whether this process was asked to stop.

        Returns:
            Whether any process was asked to: they stop together, at the same step.
        """
        used = [parameter for parameter in parameters if parameter.grad is not None]
        if self.count > 1:
            images, stop = self._add_up(used, summed, images, stop)
        if images.item() > 0:
            for parameter in summed:
                if parameter.grad is not None:
                    parameter.grad /= images
        for parameter in used if self.count > 1 else ():
            assert parameter.grad is not None
            parameter.grad /= self.count
        return stop

    def _add_up(
        self, used: list[nn.Parameter], summed: list[nn.Parameter], images: Tensor, stop: bool
    ) -> tuple[Tensor, bool]:
        """Sum gradients, images and who is to stop over the processes, in one reduction."""
        for parameter in summed:
            if parameter.grad is None and parameter.requires_grad:
                parameter.grad = torch.zeros_like(parameter)
        gradients = [each.grad for each in (*used, *summed) if each.grad is not None]
        counts = images.reshape(1).to(gradients[0]), gradients[0].new_tensor([float(stop)])
        flat = torch.cat([*(each.flatten() for each in gradients), *counts])
        with _lost():
            dist.all_reduce(flat)
            # On GPUs it is here that the sum is waited for.
            learned, stopping = flat[-2:].tolist()
        parts = flat[:-2].split([each.numel() for each in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))
        if learned == 0:
            for parameter in summed:
                parameter.grad = None
        return flat[-2], stopping > 0
