"""Data parallel training: every process trains the same archs on its share of each batch.

DistributedDataParallel averages in every backward pass, of which a step of the sandwich rule has
several; here gradients are reduced once, after all passes. A parameter that no arch of the step
uses has no gradient, so the optimiser skips it, as in one process.
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
def _convert_errors() -> Iterator[None]:
    """Convert the RuntimeError of a lost process to a ProcessLostError."""
    try:
        yield
    except RuntimeError as error:
        raise ProcessLostError(
            "another process of the training has ended; start all of them again to continue "
            f"from the last checkpoint ({one_line(error)})"
        ) from None


@dataclass(frozen=True)
class Processes:
    """The process group of a training.

    Args:
        rank: Rank of this process; the main process, rank 0, evaluates, logs and saves.
        count: Number of processes.
    """

    rank: int = 0
    count: int = 1

    @classmethod
    def current(cls) -> Processes:
        """Return torch's default process group; without one, a single process."""
        if dist.is_available() and dist.is_initialized():
            return cls(dist.get_rank(), dist.get_world_size())
        return cls()

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def broadcast_parameters(self, model: nn.Module) -> None:
        """Broadcast the parameters and buffers of the main process."""
        if self.count > 1:
            with _convert_errors():
                for tensor in (*model.parameters(), *model.buffers()):
                    dist.broadcast(tensor.detach(), src=0)

    def broadcast(self, value: Any) -> Any:
        """Broadcast the main process's `value`."""
        if self.count == 1:
            return value
        values = [value if self.is_main else None]
        with _convert_errors():
            dist.broadcast_object_list(values, src=0)
        return values[0]

    def all_gather(self, value: Any) -> list[Any]:
        """Gather the `value` of every process, in the order of ranks."""
        values = [value] * self.count
        if self.count > 1:
            with _convert_errors():
                dist.all_gather_object(values, value)
        return values

    def sum(self, x: Tensor) -> Tensor:
        """Sum a tensor over the processes; gradients flow to the tensors of all."""
        summed: Tensor = x if self.count == 1 else _Sum.apply(x)
        return summed

    def all_reduce_gradients(
        self,
        parameters: list[nn.Parameter],
        summed: list[nn.Parameter],
        image_count: Tensor,
        stop: bool = False,
    ) -> bool:
        """Reduce gradients to those of the joined batch.

        Args:
            parameters: Parameters whose loss is a mean over this process's images.
            summed: Parameters whose loss is a sum over images. Their gradients are divided by the
                number of these images in all processes, and are None if there are none.
            image_count: Number of images in those sums of this process, a scalar.
            stop: Whether a stop of this process was requested.

        Returns:
            Whether a stop of any process was requested, so that all stop at the same step.
        """
        means = [each.grad for each in parameters if each.grad is not None]
        if self.count > 1:
            for parameter in summed:
                if parameter.grad is None and parameter.requires_grad:
                    parameter.grad = torch.zeros_like(parameter)
        sums = [each.grad for each in summed if each.grad is not None]
        if self.count > 1:
            image_count, stop = _all_reduce([*means, *sums], image_count, stop)
            for gradient in means:
                gradient.div_(self.count)
        if image_count.item() > 0:
            for gradient in sums:
                gradient.div_(image_count)
        else:
            for parameter in summed:
                parameter.grad = None
        return stop


class _Sum(torch.autograd.Function):
    """The sum over the processes; torch's own would raise a plain error for a lost process."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        with _convert_errors():
            dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _Sum.forward(ctx, gradient)


def _all_reduce(gradients: list[Tensor], image_count: Tensor, stop: bool) -> tuple[Tensor, bool]:
    """Sum gradients, image counts and stop flags over the processes, in one all-reduce."""
    counts = image_count.reshape(1).to(gradients[0]), gradients[0].new_tensor([float(stop)])
    flat = torch.cat([*(each.flatten() for each in gradients), *counts])
    with _convert_errors():
        dist.all_reduce(flat)
        # On GPUs this waits for the all-reduce, so that a lost process raises here.
        stops = flat[-1].item()
    parts = flat[:-2].split([each.numel() for each in gradients])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view_as(gradient))
    return flat[-2], stops > 0
