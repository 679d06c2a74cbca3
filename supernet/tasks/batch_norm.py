"""Batch norm over the images of all processes, on GPUs and CPUs."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from supernet.precision import at_least_float32, full_precision
from supernet.process_group import Processes


class BatchNorm(nn.BatchNorm2d):
    """torch's batch norm, with the training statistics of the joined batch of all processes.

    All processes have equal batches. torch's own `SyncBatchNorm` is for GPUs alone.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (B, C, H, W)."""
        processes = Processes.current()
        if not self.training or processes.count == 1:
            return super().forward(x)
        with full_precision(x):
            values, count = at_least_float32(x), processes.count
            mean = processes.sum(values.mean((0, 2, 3))) / count
            centred = values - mean[:, None, None]
            variance = processes.sum(centred.square().mean((0, 2, 3))) / count
            self._update(mean.detach(), variance.detach(), count * x.numel() // x.shape[1])
            scale = self.weight / (variance + self.eps).sqrt()
            normed = centred * scale[:, None, None] + self.bias[:, None, None]
            return normed.to(x.dtype)

    @torch.no_grad()
    def _update(self, mean: Tensor, variance: Tensor, count: int) -> None:
        """Update the running statistics by those of `count` pixels."""
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.momentum is not None
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance * count / (count - 1), self.momentum)
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)


def synchronise(module: nn.Module) -> None:
    """Turn the batch norms inside a module into `BatchNorm`."""
    for each in module.modules():
        if type(each) is nn.BatchNorm2d:
            each.__class__ = BatchNorm


def remove_batch_norm(module: nn.Module) -> None:
    """Remove the batch norms inside a module; its convolutions before them have no bias."""
    names = [name for name, each in module.named_modules() if type(each) is nn.BatchNorm2d]
    for name in names:
        module.set_submodule(name, nn.Identity())
