"""Hypervolume against counting the unit cells that integer points dominate."""

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.front.hypervolume import Archive

SIDE = 6


def cells(points, dimensions):
    """Unit cells of the cube [0, SIDE) that some point dominates."""
    corners = itertools.product(range(SIDE), repeat=dimensions)
    return sum(
        any(all(p <= c for p, c in zip(point, corner, strict=True)) for point in points)
        for corner in corners
    )


def dominates(a, b):
    return all(x <= y for x, y in zip(a, b, strict=True)) and a != b


def clouds(dimensions):
    # Some points lie on the reference, and some beyond it.
    point = st.tuples(*[st.integers(0, SIDE + 1)] * dimensions)
    return st.lists(point, max_size=9)


@pytest.mark.parametrize("dimensions", [1, 2, 3, 4])
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_the_volume_is_that_of_the_cells(dimensions, data):
    points = data.draw(clouds(dimensions))
    archive = Archive([SIDE] * dimensions)
    for point in points:
        archive.add(point)
    assert archive.volume == cells(points, dimensions)


@settings(max_examples=60, deadline=None)
@given(clouds(3))
def test_an_archive_keeps_what_nothing_dominates(points):
    archive = Archive((SIDE,) * 3)
    for point in points:
        archive.add(point)
    alone = {p for p in points if not any(dominates(q, p) for q in points)}
    assert set(map(tuple, archive.points.tolist())) == alone
    assert len(archive.points) == len(alone)


def test_equal_and_dominated_points_are_left_out():
    archive = Archive((10, 10))
    for point in ((5, 5), (5, 5), (6, 5), (4, 6)):
        archive.add(point)
    assert archive.points.tolist() == [[5, 5], [4, 6]]
    archive.add((3, 3))
    assert archive.points.tolist() == [[3, 3]]


@pytest.mark.parametrize("dimensions", [2, 3, 5])
def test_the_order_of_points_does_not_matter(dimensions):
    rng = random.Random(dimensions)
    points = [tuple(rng.random() for _ in range(dimensions)) for _ in range(30)]
    volumes = set()
    for _ in range(4):
        rng.shuffle(points)
        archive = Archive((1.0,) * dimensions)
        for point in points:
            archive.add(point)
        volumes.add(round(archive.volume, 9))
    assert len(volumes) == 1
