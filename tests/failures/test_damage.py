"""Files that were cut, emptied or changed on the disk."""

import random
import shutil

import pytest
from checkpoint_toys import damage, number_of, saved, state_of

from search.cli.main import main
from search.front.front import Front
from space.arch_file import load_arch_file
from space.utils.errors import InputError
from supernet.training.checkpoint import load_checkpoint, previous_path, save_checkpoint

pytestmark = pytest.mark.cluster


def is_noticed(folder, seed):
    """Whatever happens to the newest, the one before is read and it is said."""
    path = saved(folder)
    damaged = damage(random.Random(seed), path.read_bytes())
    path.write_bytes(damaged)
    found = load_checkpoint(path)
    assert number_of(found) == 1
    (note,) = found.notes
    assert note.startswith(f"{path}: not an intact checkpoint: ")
    assert "\n" not in note
    assert path.with_name("checkpoint.pt.broken").read_bytes() == damaged
    # What comes next does not push out the whole one in favour of the broken one.
    save_checkpoint(state_of(3), path)
    assert number_of(load_checkpoint(path)) == 3
    assert number_of(load_checkpoint(previous_path(path))) == 1


def test_the_checkpoint_before_a_damaged_one_is_read(tmp_path, ledger):
    times = ledger.times(100, few=100)
    for seed in range(times):
        is_noticed(tmp_path / str(seed), seed)
    told = "the file and what is wrong, one line; on from the one before"
    ledger.add(31, "checkpoint cut, emptied or changed", times, told=told)


# Each with what reads it, and a command that does.
YAML = {
    "arch": ("retrain/main/80/arch.yaml", load_arch_file, "retrain"),
    "front": ("search/main/front.yaml", Front.load, "export"),
}


@pytest.mark.parametrize("name", YAML)
def test_a_file_that_was_cut_is_not_taken_for_a_shorter_one(tmp_path, toy, capsys, ledger, name):
    config, whole = toy
    inside, read, command = YAML[name]
    run = shutil.copytree(whole, tmp_path / "run")
    path, rng, times = run / inside, random.Random(name), ledger.times(100, few=100)
    content = path.read_bytes()
    # What ends with the last line, but for its end, is whole.
    cuts = [rng.randrange(len(content) - 1) for _ in range(times)]
    # A file that was cut between two lines looks most like a whole one.
    lines = [at for at in range(len(content) - 1) if content[at : at + 1] == b"\n"]
    for at in [*cuts, *lines, *(at + 1 for at in lines)]:
        path.write_bytes(content[:at])
        with pytest.raises(InputError) as raised:
            read(path)
        assert str(raised.value).startswith(f"{path}:")
        assert "\n" not in str(raised.value)
    assert main([command, str(config), "--run", str(run)]) == 2
    assert capsys.readouterr().err == f"tokennas: {raised.value}\n"
    path.write_bytes(content)
    assert main([command, str(config), "--run", str(run)]) == 0
    times += 2 * len(lines)
    fault = f"{name} file cut at random bytes and at the ends of its lines"
    ledger.add(32, fault, times, told="file, place and what is wrong")
