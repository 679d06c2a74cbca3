"""Token pooling against torch's own pooling, and against plain loops."""

import pytest
import supernet_reference as reference
import torch
from supernet_toys import close, half
from torch.nn import functional as F

from space import Pool
from supernet.operators.pooling import DepthwisePool, adaptive_max, pool_tokens

WIDTH = 5
SIZES = [(5, 5), (6, 6), (4, 7), (1, 6), (7, 1), (3, 8)]
DTYPES = [torch.float32, torch.float64]


def tokens(count, dtype=torch.float64, batch=2):
    generator = torch.Generator().manual_seed(count)
    return torch.randn(batch, count, WIDTH, generator=generator).to(dtype)


def on_grid(x, grid):
    """Tokens (B, P, D) as an image (B, D, h, w)."""
    return x.transpose(1, 2).reshape(x.shape[0], x.shape[2], *grid)


def smaller(grid):
    grids = [(h, w) for h in range(1, grid[0] + 1) for w in range(1, grid[1] + 1)]
    return [target for target in grids if target != grid]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("grid", SIZES)
def test_average_and_maximum_of_a_grid_are_adaptive(grid, dtype):
    x = tokens(grid[0] * grid[1], dtype)
    for target in smaller(grid):
        average = pool_tokens(x, grid, Pool("avg2d", grid=target), None)
        maximum = pool_tokens(x, grid, Pool("max2d", grid=target), None)
        image = on_grid(x, grid)
        assert torch.equal(on_grid(average, target), F.adaptive_avg_pool2d(image, target))
        assert torch.equal(on_grid(maximum, target), F.adaptive_max_pool2d(image, target))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("count", [2, 7, 12, 25])
def test_average_and_maximum_of_a_sequence_are_adaptive(count, dtype):
    x = tokens(count, dtype)
    for stride in range(2, count + 1):
        size = -(-count // stride)
        sequence = x.transpose(1, 2)
        average = pool_tokens(x, None, Pool("avg1d", stride=stride), None).transpose(1, 2)
        maximum = pool_tokens(x, None, Pool("max1d", stride=stride), None).transpose(1, 2)
        assert torch.equal(average, F.adaptive_avg_pool1d(sequence, size))
        assert torch.equal(maximum, F.adaptive_max_pool1d(sequence, size))


@pytest.mark.parametrize("grid", SIZES)
def test_averages_that_are_exported_are_the_same(monkeypatch, grid):
    count = grid[0] * grid[1]
    x = tokens(count)
    pools = [
        *((grid, Pool("avg2d", grid=target)) for target in smaller(grid)),
        *((None, Pool("avg1d", stride=stride)) for stride in range(2, count + 1)),
    ]
    expected = [pool_tokens(x, at, pool, None) for at, pool in pools]
    monkeypatch.setattr(torch.compiler, "is_exporting", lambda: True)
    for (at, pool), wanted in zip(pools, expected, strict=True):
        close(pool_tokens(x, at, pool, None), wanted, 1e-12)
        single = pool_tokens(x.float(), at, pool, None)
        assert single.dtype == torch.float32
        close(single.double(), wanted, 1e-5)


def test_an_exported_average_holds_no_matrix():
    """It has (tokens x tokens / 2) values, megabytes for a large image."""

    class Average(torch.nn.Module):
        def forward(self, x):
            return pool_tokens(x, None, Pool("avg1d", stride=2), None)

    program = torch.export.export(Average(), (tokens(64),))
    assert not program.constants


def test_adaptive_maximum_of_any_axis():
    x = tokens(9)
    for size in range(1, 10):
        expected = F.adaptive_max_pool1d(x.transpose(1, 2), size).transpose(1, 2)
        assert torch.equal(adaptive_max(x, 1, size), expected)


@pytest.mark.parametrize("grid", [*SIZES, (1, 1), (2, 2), (2, 3)])
def test_convolution_of_a_grid_starts_as_averaging(grid):
    conv = DepthwisePool(WIDTH, 2).double()
    x = tokens(grid[0] * grid[1])
    pooled = pool_tokens(x, grid, Pool("conv2d", grid=half(grid)), conv)
    close(on_grid(pooled, half(grid)), F.avg_pool2d(on_grid(x, grid), 2, ceil_mode=True))


@pytest.mark.parametrize("count", [1, 2, 5, 8, 13])
def test_convolution_of_a_sequence_starts_as_averaging(count):
    conv = DepthwisePool(WIDTH, 1).double()
    x = tokens(count)
    pooled = pool_tokens(x, None, Pool("conv1d", stride=2), conv)
    close(pooled.transpose(1, 2), F.avg_pool1d(x.transpose(1, 2), 2, ceil_mode=True))


@pytest.mark.parametrize("grid", SIZES)
def test_learned_weights_are_those_of_plain_loops(grid):
    torch.manual_seed(0)
    x = tokens(grid[0] * grid[1])
    for dimensions, pool in ((2, Pool("conv2d", grid=half(grid))), (1, Pool("conv1d", stride=2))):
        conv = DepthwisePool(WIDTH, dimensions).double()
        torch.nn.init.normal_(conv.weight)
        found = pool_tokens(x, grid, pool, conv)
        for image, pooled in zip(x, found, strict=True):
            close(pooled, reference.pooled(image, grid, pool, conv.weight)[0])


def test_a_kernel_belongs_to_each_channel():
    conv = DepthwisePool(WIDTH, 2).double()
    x = tokens(16)
    before = pool_tokens(x, (4, 4), Pool("conv2d", grid=(2, 2)), conv)
    with torch.no_grad():
        conv.weight[3] += 1
    changed = (pool_tokens(x, (4, 4), Pool("conv2d", grid=(2, 2)), conv) != before).any(0).any(0)
    assert changed.tolist() == [False, False, False, True, False]


def test_a_grid_is_read_row_by_row():
    x = torch.arange(6.0).reshape(1, 6, 1)
    rows = pool_tokens(x, (2, 3), Pool("max2d", grid=(2, 1)), None)
    columns = pool_tokens(x, (2, 3), Pool("max2d", grid=(1, 3)), None)
    assert rows.flatten().tolist() == [2, 5]
    assert columns.flatten().tolist() == [3, 4, 5]
