"""Token pooling (PSViT, arXiv 2108.03428), which reduces the patch tokens.

B images, P patch tokens of a grid (h, w), D width. 2-D kinds pool the grid, 1-D kinds the
row-major sequence.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from space.arch import Grid, Pool
from supernet.operators.base import Action, Backbone, Flow, TokenOperator


class Pooling(TokenOperator):
    """Pools the patch tokens before a block; prefix tokens pass unchanged."""

    name = "pool"
    modules = "pools"
    decays = False  # decay would shrink the kernels, which start as averages

    def module(self, net: Backbone, choices: Iterable[Action], like: Tensor) -> nn.Module | None:
        kinds = sorted({each.choice.kind for each in choices if each.choice.learned})
        kernels = {
            kind: DepthwisePool(net.embed_dim, 2 if kind == "conv2d" else 1).to(like)
            for kind in kinds
        }
        return nn.ModuleDict(kernels) if kernels else None

    def apply(self, net: Backbone, action: Action, flow: Flow, module: Any) -> Flow:
        pool, prefix = action.choice, net.num_prefix_tokens
        conv = module[pool.kind] if pool.learned else None
        patches = pool_tokens(flow.x[:, prefix:], action.before.grid, pool, conv)
        return flow._replace(x=torch.cat([flow.x[:, :prefix], patches], dim=1))


class DepthwisePool(nn.Module):
    """A depthwise convolution of stride 2, initialised to average 2 or 2 x 2 tokens.

    At an odd edge the output is divided by the taps inside, so that it equals
    `avg_pool2d(2, ceil_mode=True)` there too.

    Args:
        width: Channels D, one kernel each.
        dimensions: 1 for the sequence, 2 for the grid.
    """

    def __init__(self, width: int, dimensions: int) -> None:
        super().__init__()
        taps = torch.full((2,) * dimensions, 0.5**dimensions)
        kernel = F.pad(taps, (1, 0) * dimensions)
        self.weight = nn.Parameter(kernel.repeat(width, 1, *(1,) * dimensions))

    def forward(self, x: Tensor) -> Tensor:
        """Halve each axis of (B, D, P) or (B, D, h, w), rounding odd sides up."""
        convolve = F.conv2d if x.ndim == 4 else F.conv1d
        y = convolve(x, self.weight, stride=2, padding=1, groups=x.shape[1])
        for axis in range(2, x.ndim):
            if x.shape[axis] % 2:
                inside, edge = y.split((y.shape[axis] - 1, 1), dim=axis)
                y = torch.cat([inside, 2 * edge], dim=axis)
        return y


def pool_tokens(x: Tensor, grid: Grid | None, pool: Pool, conv: DepthwisePool | None) -> Tensor:
    """Pool patch tokens (B, P, D) to (B, P', D).

    Args:
        x: Patch tokens, row by row.
        grid: Their grid (h, w), or None after a 1-D pooling.
        pool: Kind and target, valid at that grid.
        conv: The module of a convolutional kind.
    """
    if pool.grid is not None:
        assert grid is not None
        sides, target = grid, pool.grid
    else:
        # 1-D kinds pool a grid of one row.
        assert pool.stride is not None
        sides, target = (1, x.shape[1]), (1, -(-x.shape[1] // pool.stride))
    if pool.kind.startswith("avg") and torch.compiler.is_exporting():
        return averaging_matrix(sides, target).to(x.device, x.dtype) @ x
    x = x.transpose(1, 2)
    if pool.kind != "conv1d":
        x = x.unflatten(2, sides)
    if conv is not None:
        x = conv(x)
    elif pool.kind.startswith("avg"):
        x = F.adaptive_avg_pool2d(x, target)
    else:
        x = adaptive_max(adaptive_max(x, 2, target[0]), 3, target[1])
    return x.flatten(2).transpose(1, 2)


def adaptive_max(x: Tensor, axis: int, size: int) -> Tensor:
    """Compute `adaptive_max_pool` along one axis, with operations that ONNX supports.

    Output i is the maximum over floor(i n / size) ... ceil((i + 1) n / size); short windows repeat
    their last entry.
    """
    if size == x.shape[axis]:
        return x
    n = x.shape[axis]
    windows = [range(i * n // size, -(-(i + 1) * n // size)) for i in range(size)]
    length = max(map(len, windows))
    rows = [window[min(j, len(window) - 1)] for window in windows for j in range(length)]
    repeated = x.index_select(axis, torch.tensor(rows, device=x.device))
    pooled: Tensor = repeated.unflatten(axis, (size, length)).amax(axis + 1)
    return pooled


def averaging_matrix(sides: Grid, target: Grid) -> Tensor:
    """Return adaptive average pooling of the P tokens of a grid as a matrix (P', P).

    ONNX has no such operation, and torch's decomposition is slow in onnxruntime.
    """
    return torch.kron(*map(_average_windows, sides, target))


def _average_windows(n: int, size: int) -> Tensor:
    """Return (size, n), whose row i averages floor(i n / size) ... ceil((i + 1) n / size).

    By operations, not from a list: an exported program has these in place of the large matrix.
    """
    starts = torch.arange(size)[:, None] * n // size
    stops = -(-(torch.arange(size)[:, None] + 1) * n // size)
    inside = (torch.arange(n) >= starts) & (torch.arange(n) < stops)
    return inside.double() / inside.sum(dim=1, keepdim=True)
