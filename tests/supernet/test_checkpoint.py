"""Checkpoints: the newest whole one is read, whatever became of the files."""

import random
import shutil

import pytest
import torch

from space import InputError
from supernet.checkpoint import load_checkpoint, previous, save_checkpoint

CPU = torch.device("cpu")


def state_of(number):
    weights = torch.full((50, 40), float(number))
    return {
        "model": {"weight": weights, "shape": torch.arange(number)},
        "optimizer": {"state": {0: {"step": torch.tensor(number)}}, "param_groups": [{"lr": 0.1}]},
        "position": {"epoch": number, "step": 0},
        "recipe": {"lr": 0.1},
    }


def saved(folder, count=2):
    folder.mkdir(exist_ok=True)
    path = folder / "checkpoint.pt"
    for number in range(1, count + 1):
        save_checkpoint(state_of(number), path)
    return path


def number_of(found):
    """Which state was found, after a look at all of it."""
    number = found.state["position"]["epoch"]
    expected = state_of(number)
    assert found.state.keys() == expected.keys()
    for name, tensor in expected["model"].items():
        assert torch.equal(found.state["model"][name], tensor)
    return number


def test_the_last_two_are_kept_and_the_newest_is_read(tmp_path):
    path = saved(tmp_path, 5)
    assert number_of(load_checkpoint(path, CPU)) == 5
    assert number_of(load_checkpoint(previous(path), CPU)) == 4
    assert sorted(each.name for each in tmp_path.iterdir()) == [
        "checkpoint.previous.pt",
        "checkpoint.pt",
    ]


def test_there_may_be_none(tmp_path):
    found = load_checkpoint(tmp_path / "checkpoint.pt", CPU)
    assert (found.state, found.notes) == (None, [])


def test_a_stop_between_the_two_renames_loses_nothing(tmp_path):
    path = saved(tmp_path)
    path.replace(previous(path))
    found = load_checkpoint(path, CPU)
    assert (number_of(found), found.notes) == (2, [])


def damage(rng, data):
    """Cut, emptied, or with some bytes changed, added or zeroed."""
    kind = rng.choice(["cut", "empty", "flip", "zeros", "longer"])
    at = rng.randrange(len(data))
    if kind == "cut":
        return data[:at]
    if kind == "empty":
        return b""
    if kind == "flip":
        return data[:at] + bytes([data[at] ^ (1 << rng.randrange(8))]) + data[at + 1 :]
    if kind == "zeros":
        end = min(len(data), at + rng.randrange(1, 400))
        zeroed = data[:at] + bytes(end - at) + data[end:]
        return zeroed if zeroed != data else data[:at]
    return data + rng.randbytes(rng.randrange(1, 100))


@pytest.mark.parametrize("seed", range(100))
def test_whatever_happens_to_the_newest_the_one_before_is_read_and_it_is_said(tmp_path, seed):
    rng = random.Random(seed)
    path = saved(tmp_path)
    damaged = damage(rng, path.read_bytes())
    path.write_bytes(damaged)
    found = load_checkpoint(path, CPU)
    assert number_of(found) == 1
    (note,) = found.notes
    assert note.startswith(f"{path}: no whole checkpoint: ")
    assert "\n" not in note
    assert path.with_name("checkpoint.pt.broken").read_bytes() == damaged
    # What comes next does not push out the whole one in favour of the broken one.
    save_checkpoint(state_of(3), path)
    assert number_of(load_checkpoint(path, CPU)) == 3
    assert number_of(load_checkpoint(previous(path), CPU)) == 1


def test_a_file_of_something_else_is_no_checkpoint(tmp_path):
    path = saved(tmp_path)
    torch.save({"a": 1}, path)
    found = load_checkpoint(path, CPU)
    assert number_of(found) == 1
    assert "it does not end with its checksum" in found.notes[0]


def test_where_none_is_whole_it_is_refused_and_left_as_it_is(tmp_path):
    path = saved(tmp_path)
    for each in (path, previous(path)):
        each.write_bytes(each.read_bytes()[:500])
    shutil.copytree(tmp_path, tmp_path / "copy")
    with pytest.raises(InputError, match=r"no whole checkpoint: .*; delete it to go") as caught:
        load_checkpoint(path, CPU)
    assert "\n" not in str(caught.value)
    for each in (path, previous(path)):
        assert each.read_bytes() == (tmp_path / "copy" / each.name).read_bytes()


def test_a_save_that_fails_leaves_what_was_there(tmp_path, monkeypatch):
    path = saved(tmp_path)
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "no space left")))
    with pytest.raises(InputError, match=r"checkpoint\.pt: cannot be written: no space left"):
        save_checkpoint(state_of(3), path)
    assert number_of(load_checkpoint(path, CPU)) == 2
    assert number_of(load_checkpoint(previous(path), CPU)) == 1
    assert len(list(tmp_path.iterdir())) == 2
