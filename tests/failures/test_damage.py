"""Checkpoints that were cut, emptied or changed on the disk."""

import random

import torch
from checkpoint_toys import damage, number_of, saved, state_of

from supernet.checkpoint import load_checkpoint, previous, save_checkpoint

CPU = torch.device("cpu")


def is_noticed(folder, seed):
    """Whatever happens to the newest, the one before is read and it is said."""
    path = saved(folder)
    damaged = damage(random.Random(seed), path.read_bytes())
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


def test_the_checkpoint_before_a_damaged_one_is_read(tmp_path, ledger):
    times = ledger.times(100, few=100)
    for seed in range(times):
        is_noticed(tmp_path / str(seed), seed)
    told = "the file and what is wrong, one line; on from the one before"
    ledger.add(31, "checkpoint cut, emptied or changed", times, told=told)
