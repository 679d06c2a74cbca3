"""Scenes: what tells them, and the share of the images that whole ones of them have."""

import numpy as np
import pytest
from dense_toys import write_pairs

from space import InputError
from supernet.config import DatasetConfig
from supernet.data.scenes import draw_scenes
from supernet.data.sources import open_sources


@pytest.fixture
def scenes(tmp_path):
    """The scenes of the training images 00_000 to 01_007, by what `data.dataset.scenes` is."""
    toy = write_pairs(tmp_path, train=8, test=4, maps=("depth",))
    return lambda value: open_sources(DatasetConfig(**{**toy, "scenes": value}))[0].scenes


def complaint(function, *args):
    with pytest.raises(InputError) as caught:
        function(*args)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_scenes_are_in_names(scenes):
    assert scenes(None) is None
    halves = [0] * 4 + [1] * 4
    for expression in (r"^(\d+)_", r"^\d+", "^(..)_(.*)$", "^(?:(0.))"):
        assert scenes(expression).tolist() == halves
    assert scenes(r"\d$").tolist() == list(range(8))


def test_scenes_are_in_a_file_whose_names_may_have_spaces(scenes, tmp_path):
    lines = [f"00_00{i}\tkitchen" for i in range(4)] + [f"01_00{i}   bath" for i in range(4, 8)]
    (tmp_path / "scenes.txt").write_text("\r\n".join([*lines, "", "not there x"]))
    assert scenes("scenes.txt").tolist() == [1] * 4 + [0] * 4
    assert scenes(str(tmp_path / "scenes.txt")).tolist() == [1] * 4 + [0] * 4


def test_what_is_wrong_with_scenes_is_one_line(scenes, tmp_path):
    file = tmp_path / "scenes.txt"
    file.write_text("00_000 kitchen\n\nalone\n")
    message = complaint(scenes, "scenes.txt")
    assert message == f"{file}:3: must be a name and a scene, got 'alone'"
    file.write_text("00_000 kitchen\n")
    assert complaint(scenes, "scenes.txt") == f"{file}: has no scene of the name '00_001'"
    file.unlink()
    no_file = f"data.dataset.scenes: 'scenes.txt' is no text file below {tmp_path}"
    assert complaint(scenes, "scenes.txt") == (
        f"{no_file}, and as a regular expression finds no scene in the name '00_000'"
    )
    assert "and no regular expression: missing )" in complaint(scenes, "(")
    for finds_nothing in ("(x)?0", "^(x*)", "y" * 5000):
        assert "finds no scene in the name '00_000'" in complaint(scenes, finds_nothing)


@pytest.mark.parametrize("seed", range(20))
def test_whole_scenes_are_drawn_that_have_at_most_the_share(seed):
    rng = np.random.default_rng(seed)
    numbers = rng.permutation(np.repeat(np.arange(30), rng.integers(1, 9, 30)))
    pool = np.sort(rng.permutation(len(numbers))[:100])
    drawn = draw_scenes(np.random.default_rng(seed), pool, numbers, 0.2)
    assert {*drawn} <= {*pool.tolist()}
    rest = np.setdiff1d(pool, drawn)
    assert not {*numbers[drawn]} & {*numbers[rest]}
    # No more, and a scene of a few images always fits.
    assert 20 - 3 < len(drawn) <= 20
    assert drawn == draw_scenes(np.random.default_rng(seed), pool, numbers, 0.2)


def test_other_seeds_draw_other_scenes_large_ones_too():
    numbers = np.repeat(np.arange(10), [30, *[10] * 9])
    drawn = [
        {*numbers[draw_scenes(np.random.default_rng(seed), np.arange(120), numbers, 0.3)]}
        for seed in range(50)
    ]
    assert len({tuple(sorted(each)) for each in drawn}) > 20
    assert any(0 in each for each in drawn)


def test_where_every_scene_is_too_large_the_smallest_is_drawn():
    numbers = np.repeat([5, 6, 7], [40, 20, 40])
    rng = np.random.default_rng(0)
    assert draw_scenes(rng, np.arange(100), numbers, 0.1) == list(range(40, 60))
    message = complaint(draw_scenes, rng, np.arange(40), numbers, 0.1)
    assert message.startswith("data.dataset.scenes: all training images are of one scene")
