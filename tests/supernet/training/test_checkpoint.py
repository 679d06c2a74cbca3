"""Checkpoints: the newest whole one is read, whatever became of the files."""

import shutil
from contextlib import contextmanager

import pytest
import torch
from checkpoint_toys import number_of, saved, state_of

from space import InputError
from space.utils.atomic import replacing
from supernet.training.checkpoint import load_checkpoint, previous_path, save_checkpoint


def test_the_last_two_are_kept_and_the_newest_is_read(tmp_path):
    path = saved(tmp_path, 5)
    assert number_of(load_checkpoint(path)) == 5
    assert number_of(load_checkpoint(previous_path(path))) == 4
    assert sorted(each.name for each in tmp_path.iterdir()) == [
        "checkpoint.previous.pt",
        "checkpoint.pt",
    ]


def test_there_may_be_none(tmp_path):
    found = load_checkpoint(tmp_path / "checkpoint.pt")
    assert (found.state, found.notes) == (None, [])


def test_a_stop_between_the_two_renames_loses_nothing(tmp_path):
    path = saved(tmp_path)
    path.replace(previous_path(path))
    found = load_checkpoint(path)
    assert (number_of(found), found.notes) == (2, [])


def test_a_file_of_something_else_is_no_checkpoint(tmp_path):
    path = saved(tmp_path)
    torch.save({"a": 1}, path)
    found = load_checkpoint(path)
    assert number_of(found) == 1
    assert "it does not end with its checksum" in found.notes[0]


def test_a_flipped_bit_in_the_weights_is_noticed(tmp_path):
    path = saved(tmp_path)
    data = bytearray(path.read_bytes())
    at = data.index(torch.full((20,), 2.0).numpy().tobytes())
    data[at] ^= 1
    path.write_bytes(data)
    assert torch.load(path)["model"]["weight"][0, 0] != 2, "torch itself loads it"
    found = load_checkpoint(path)
    assert number_of(found) == 1
    assert "its checksum does not fit" in found.notes[0]


def test_a_write_that_fails_once_fails_the_save(tmp_path, monkeypatch):
    """torch's writer passes over it, and what comes after could be written."""
    path = saved(tmp_path)
    before = path.read_bytes()

    class Failing:
        def __init__(self, file):
            self.file, self.writes = file, 0

        def write(self, data):
            self.writes += 1
            if self.writes == 2:
                raise OSError(5, "Input/output error")
            return self.file.write(data)

    @contextmanager
    def failing(*args):
        with replacing(*args) as file:
            yield Failing(file)

    monkeypatch.setattr("supernet.training.checkpoint.replacing", failing)
    with pytest.raises(InputError, match=r"checkpoint\.pt: cannot be written: Input/output error"):
        save_checkpoint(state_of(3), path)
    assert path.read_bytes() == before


def test_where_none_is_whole_it_is_refused_and_left_as_it_is(tmp_path):
    path = saved(tmp_path)
    for each in (path, previous_path(path)):
        each.write_bytes(each.read_bytes()[:500])
    shutil.copytree(tmp_path, tmp_path / "copy")
    with pytest.raises(
        InputError, match=r"not an intact checkpoint: .*; delete it to start"
    ) as caught:
        load_checkpoint(path)
    assert "\n" not in str(caught.value)
    for each in (path, previous_path(path)):
        assert each.read_bytes() == (tmp_path / "copy" / each.name).read_bytes()


def test_a_save_that_fails_leaves_what_was_there(tmp_path, monkeypatch):
    path = saved(tmp_path)
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "no space left")))
    with pytest.raises(InputError, match=r"checkpoint\.pt: cannot be written: no space left"):
        save_checkpoint(state_of(3), path)
    assert number_of(load_checkpoint(path)) == 2
    assert number_of(load_checkpoint(previous_path(path))) == 1
    assert len(list(tmp_path.iterdir())) == 2


def test_what_a_killed_process_left_half_written_is_removed(tmp_path):
    path = saved(tmp_path)
    half = tmp_path / ".checkpoint.pt.4711.part"
    half.write_bytes(path.read_bytes()[:500])
    assert number_of(load_checkpoint(path)) == 2
    assert not half.exists()
