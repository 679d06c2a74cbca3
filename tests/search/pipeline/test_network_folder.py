"""Folders of retrained networks, when a search that went on finds a better arch for a choice."""

import io
import shutil
from pathlib import Path

import pytest
from rich.console import Console
from search_toys import all_archs, small_space

from search.pipeline.config import Config
from search.pipeline.network_folder import ARCH, STARTED, claim_folder
from search.pipeline.run_folder import RunFolder
from space import macs, save_arch
from space.utils.errors import InputError

SPACE = small_space()
ONE, TWO = all_archs(SPACE)[3], all_archs(SPACE)[17]


@pytest.fixture
def folder(tmp_path):
    return RunFolder(Config(run=str(tmp_path / "run")), None)


def taken(folder, arch):
    told = io.StringIO()
    place = claim_folder(folder, "retrain/main/50", arch, SPACE, Console(file=told, width=400))
    return place, (place / ARCH).exists(), told.getvalue()


def fill(place, arch, name=ARCH):
    save_arch(arch, place / name, shape=SPACE.shape)
    for each in ("checkpoint.pt", "log.jsonl", "subnet.safetensors"):
        (place / each).write_text(f"{each} of {macs(arch, SPACE.shape)}")


def test_what_is_finished_is_finished_and_what_is_not_goes_on(folder):
    place, finished, told = taken(folder, ONE)
    assert (finished, told) == (False, "")
    fill(place, ONE, STARTED)
    assert taken(folder, ONE) == (place, False, "")
    fill(place, ONE)
    assert taken(folder, ONE) == (place, True, "")


@pytest.mark.parametrize("name", [ARCH, STARTED])
def test_another_arch_is_set_aside_whole_and_it_is_said(folder, name):
    place, _, _ = taken(folder, ONE)
    fill(place, ONE, name)
    before = {each.name: each.read_bytes() for each in place.iterdir()}
    _, finished, told = taken(folder, TWO)
    assert not finished
    assert "is no longer the best: moved to" in told
    assert {each.name for each in place.iterdir()} == {"config.yaml", "earlier", "lock"}
    (aside,) = (place / "earlier").iterdir()
    assert str(aside) in told
    kept = {each.name: each.read_bytes() for each in aside.iterdir()}
    assert kept == {key: value for key, value in before.items() if key != "config.yaml"}
    # And back: nothing is overwritten, however often.
    fill(place, TWO)
    taken(folder, ONE)
    fill(place, ONE)
    taken(folder, TWO)
    assert len(list((place / "earlier").iterdir())) == 3


def test_a_move_that_was_interrupted_goes_on(folder, monkeypatch):
    place, _, _ = taken(folder, ONE)
    fill(place, ONE)
    before = {each.name for each in place.iterdir()} - {"config.yaml"}
    replace, moved = Path.replace, []

    def stopping(self, target):
        if self.parent == place:
            moved.append(self)
        if len(moved) == 3:
            raise KeyboardInterrupt
        return replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", stopping)
        with pytest.raises(KeyboardInterrupt):
            taken(folder, TWO)
    taken(folder, TWO)
    (aside,) = (place / "earlier").iterdir()
    assert {each.name for each in aside.iterdir()} == before
    assert {each.name for each in place.iterdir()} == {"config.yaml", "earlier", "lock"}


def test_other_values_are_refused_and_nothing_moves(folder, tmp_path):
    place, _, _ = taken(folder, ONE)
    fill(place, ONE)
    shutil.copytree(place, tmp_path / "copy")
    other = RunFolder(Config(run=folder.config.run, seed=1), None)
    with pytest.raises(InputError, match=r"seed was 0, is 1.*delete that folder"):
        taken(other, TWO)
    for each in (tmp_path / "copy").iterdir():
        assert (place / each.name).read_bytes() == each.read_bytes()


def test_all_stages_of_other_values_are_told_with_the_values_of_the_earliest(tmp_path):
    run = tmp_path / "run"
    first = RunFolder(Config(run=str(run), task={"name": "depth", "max_depth": 10.0}), None)
    stages = {"supernet": ("task",), "retrain/main/full": ("task", "retrain")}
    for stage, sections in stages.items():
        first.claim(stage, sections)
    first.check_all(stages)
    other = RunFolder(Config(run=str(run), task={"name": "depth", "max_depth": 5.0}), None)
    with pytest.raises(InputError) as error:
        other.check_all(stages)
    assert str(error.value) == (
        f"{run}/supernet: holds results of other values (task.max_depth was 10.0, is 5.0); so do "
        f"{run}/retrain/main/full; give the old values, delete these folders, or begin another run "
        "with --run"
    )
