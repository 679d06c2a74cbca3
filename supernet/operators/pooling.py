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
    decays = False  # decay would shrink the averages that the kernels start as

    def module(self, net: Backbone, choices: Iterable[Action], like: Tensor) -> nn.Module | None:
        kinds = sorted({each.choice.kind for each in choices if each.choice.learned})
        kernels = {
            kind: DepthwisePool(
                net.embed_dim, 2 if kind == "conv2d" else 1, like.device, like.dtype
            )
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

    def __init__(
        self,
        width: int,
        dimensions: int,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.dimensions = dimensions
        size = (width, 1, *(3,) * dimensions)
        self.weight = nn.Parameter(torch.zeros(size, device=device, dtype=dtype))
        with torch.no_grad():
            inside: Any = (..., *(slice(1, None),) * dimensions)
            self.weight[inside] = 0.5**dimensions

    def forward(self, x: Tensor) -> Tensor:
        """Halve each axis of (B, D, P) or (B, D, h, w), rounding odd sides up."""
        convolve = F.conv2d if self.dimensions == 2 else F.conv1d
        y = convolve(x, self.weight, stride=2, padding=1, groups=x.shape[1])
        for axis in range(2, x.ndim):
            if x.shape[axis] % 2:
                y = _double_last(y, axis)
        return y


def pool_tokens(x: Tensor, grid: Grid | None, pool: Pool, conv: DepthwisePool | None) -> Tensor:
    """Pool patch tokens (B, P, D) to (B, P', D).

    Args:
        x: Patch tokens, row by row.
        grid: Their grid (h, w), or None after a 1-D pooling.
        pool: Kind and target, valid at that grid.
        conv: The module of a convolutional kind.
    """
    if pool.kind in ("avg1d", "avg2d") and torch.compiler.is_exporting():
        return _averages(x, grid, pool) @ x
    x = x.transpose(1, 2)
    if pool.grid is not None:
        assert grid is not None
        x = _pool2d(_split(x, 2, grid), pool, pool.grid, conv).flatten(2)
    else:
        assert pool.stride is not None
        x = _pool1d(x, pool, -(-x.shape[2] // pool.stride), conv)
    return x.transpose(1, 2)


def adaptive_max(x: Tensor, axis: int, size: int) -> Tensor:
    """Compute `adaptive_max_pool` along one axis, by operations that ONNX has.

    Output i is the maximum over floor(i n / size) ... ceil((i + 1) n / size); short windows repeat
    their last entry.
    """
    n = x.shape[axis]
    starts = [i * n // size for i in range(size)]
    stops = [-(-(i + 1) * n // size) for i in range(size)]
    length = max(stop - start for start, stop in zip(starts, stops, strict=True))
    rows = [
        min(start + j, stop - 1)
        for start, stop in zip(starts, stops, strict=True)
        for j in range(length)
    ]
    windows = x.index_select(axis, torch.tensor(rows, device=x.device))
    return _split(windows, axis, (size, length)).amax(axis + 1)


def _averages(x: Tensor, grid: Grid | None, pool: Pool) -> Tensor:
    """Return adaptive average pooling of tokens (B, P, D) as a matrix (P', P).

    ONNX has no such operation, and its decomposition is slow in onnxruntime.
    """
    if pool.grid is not None:
        assert grid is not None
        rows, columns = map(_windows, grid, pool.grid)
        weights = torch.kron(rows, columns)
    else:
        assert pool.stride is not None
        weights = _windows(x.shape[1], -(-x.shape[1] // pool.stride))
    return weights.to(x.device, x.dtype)


def _windows(n: int, size: int) -> Tensor:
    """Return (size, n), whose row i averages floor(i n / size) ... ceil((i + 1) n / size)."""
    starts = torch.arange(size)[:, None] * n // size
    stops = -(-(torch.arange(size)[:, None] + 1) * n // size)
    inside = (torch.arange(n) >= starts) & (torch.arange(n) < stops)
    return inside.double() / inside.sum(dim=1, keepdim=True)


def _pool2d(x: Tensor, pool: Pool, grid: Grid, conv: DepthwisePool | None) -> Tensor:
    if pool.kind == "avg2d":
        return F.adaptive_avg_pool2d(x, grid)
    if pool.kind == "max2d":
        return adaptive_max(adaptive_max(x, 2, grid[0]), 3, grid[1])
    assert conv is not None
    return conv(x)  # type: ignore[no-any-return]


def _pool1d(x: Tensor, pool: Pool, size: int, conv: DepthwisePool | None) -> Tensor:
    if pool.kind == "avg1d":
        return F.adaptive_avg_pool1d(x, size)
    if pool.kind == "max1d":
        return adaptive_max(x, 2, size)
    assert conv is not None
    return conv(x)  # type: ignore[no-any-return]


def _split(x: Tensor, axis: int, sizes: tuple[int, int]) -> Tensor:
    return x.unflatten(axis, sizes)  # type: ignore[no-any-return]


def _double_last(y: Tensor, axis: int) -> Tensor:
    last = y.shape[axis] - 1
    return torch.cat([y.narrow(axis, 0, last), 2 * y.narrow(axis, last, 1)], dim=axis)
