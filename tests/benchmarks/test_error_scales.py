"""The parts of an error by its size in the image."""

import pytest
import torch
from error_scales import split_error

GRIDS = ((2, 2), (4, 8))


def split(error, valid=None):
    valid = torch.ones_like(error, dtype=torch.bool) if valid is None else valid
    return split_error(error, valid, GRIDS)


def test_parts_add_up_to_the_mean_squared_error_of_the_valid_pixels():
    generator = torch.Generator().manual_seed(0)
    error = torch.randn(3, 24, 32, generator=generator)
    valid = torch.rand(3, 24, 32, generator=generator) < 0.7
    error[~valid] = torch.nan
    parts = split(error, valid)
    expected = [each[mask].square().mean() for each, mask in zip(error, valid, strict=True)]
    torch.testing.assert_close(parts.sum(dim=1).float(), torch.stack(expected))
    assert (parts >= 0).all()


@pytest.mark.parametrize(
    ("part", "rows", "columns"), [(0, 1, 1), (1, 2, 2), (2, 4, 8), (3, 24, 32)], ids=str
)
def test_an_error_of_one_size_is_in_one_part(part, rows, columns):
    """Of alternate signs in the cells of a grid: its mean over any coarser one is 0."""
    sign = (torch.arange(rows)[:, None] + torch.arange(columns)) % 2 * 2.0 - 1
    error = sign.repeat_interleave(24 // rows, 0).repeat_interleave(32 // columns, 1)[None]
    expected = torch.zeros(1, 4, dtype=torch.double)
    expected[0, part] = 1
    torch.testing.assert_close(split(error), expected)
