"""Files that were cut, emptied, moved, or written by another version."""

import json
import random
import shutil
import time

import pytest
import yaml
from cutting import cut_and_go_on
from stored import search
from toy_runs import epochs_done, identities, start, wait_until, write_config

from search.cli.main import main
from search.study.storage import JOURNAL, read_trials
from space import InputError
from supernet.training.checkpoint import load_checkpoint, save_checkpoint

pytestmark = pytest.mark.cluster
TRIALS = 15
EPOCHS = 4
SHORT = ["--supernet.epochs", EPOCHS, "--retrain.epochs", EPOCHS]


def test_everything_complete_before_a_cut_survives(tmp_path, ledger):
    search(tmp_path / "whole", trials=TRIALS)
    rng, injected, lost, doubled, longest = random.Random(1), ledger.times(100, few=10), 0, 0, 0.0
    size = (tmp_path / "whole" / JOURNAL).stat().st_size
    for number in range(injected):
        began = time.monotonic()
        found = cut_and_go_on(
            tmp_path / "whole", tmp_path / str(number), rng.randrange(size), trials=TRIALS
        )
        longest = max(longest, time.monotonic() - began)
        lost += found.evaluated - (TRIALS - found.complete)
        doubled += len(found.identities) - len(set(found.identities))
        assert bool(found.notes) == bool(found.torn)
        assert len(set(found.identities)) == TRIALS
    ledger.add(
        30,
        "journal cut at a random byte",
        injected,
        lost=lost,
        doubled=doubled,
        seconds=longest,
        told="how many bytes were half written and cut off",
    )


def test_empty_files_of_a_search_are_told_or_made_again(tmp_path, ledger):
    search(tmp_path / "whole", trials=TRIALS)
    names = sorted(path.name for path in (tmp_path / "whole").iterdir())
    assert {JOURNAL, "search.yaml", "front.yaml", "status.json", "lock"} <= set(names)
    lost = doubled = 0
    for name in names:
        folder = tmp_path / name
        shutil.copytree(tmp_path / "whole", folder)
        before = [trial.user_attrs["identity"] for trial in read_trials(folder)]
        (folder / name).write_bytes(b"")
        if name == "search.yaml":
            with pytest.raises(InputError, match=r"search\.yaml: the file is empty"):
                search(folder, trials=TRIALS)
        else:
            search(folder, trials=TRIALS)
            assert (folder / name).stat().st_size > 0
        after = [trial.user_attrs["identity"] for trial in read_trials(folder)]
        # Of an empty journal nothing was left to lose; the same seed evaluates the same archs.
        lost += len(set(before) - set(after))
        doubled += len(after) - len(set(after))
    ledger.add(
        31,
        "an empty file in the folder of a search, each of them",
        len(names),
        lost=lost,
        doubled=doubled,
        told="search.yaml: one line; others are written again, the journal by searching again",
    )


STAGES = {
    "supernet": lambda run: epochs_done(run / "supernet") >= 2,
    "search": lambda run: len(identities(run)) >= 4,
    "retrain": lambda run: epochs_done(run / "retrain" / "main" / "80") >= 2,
}


@pytest.mark.parametrize("stage", STAGES)
def test_a_moved_run_goes_on_and_does_nothing_twice(tmp_path, ledger, stage):
    config, old, new = write_config(tmp_path), tmp_path / "old", tmp_path / "else" / "new"
    words = ["run", config, *SHORT, "--search.trials", "30"]
    process = start(*words, "--run", old)
    wait_until(lambda: STAGES[stage](old), process)
    process.kill()
    process.wait()
    logs = [path.relative_to(old) for path in old.rglob("log.jsonl")]
    rows, found = {log: (old / log).read_text().splitlines() for log in logs}, identities(old)
    new.parent.mkdir()
    shutil.move(old, new)
    began = time.monotonic()
    second = start(*words, "--run", new)
    work = amount(new)
    wait_until(lambda: amount(new) > work, second)
    seconds = time.monotonic() - began
    _, error = second.communicate(timeout=180)
    assert second.returncode == 0, error
    assert not old.exists()
    lost = doubled = 0
    for log in new.rglob("log.jsonl"):
        epochs = [json.loads(row)["epoch"] for row in log.read_text().splitlines()]
        assert set(epochs) == set(range(EPOCHS))
        doubled += len(epochs) - EPOCHS
    for log, before in rows.items():
        # An epoch whose row was written before its checkpoint is done again, with the same figures.
        lost += sum(row not in (new / log).read_text() for row in before[:-1])
    after = identities(new)
    assert len(set(after)) == 30
    lost, doubled = lost + len(set(found) - set(after)), doubled + len(after) - len(set(after))
    ledger.add(
        54,
        f"run's folder moved after a kill, stage {stage}",
        1,
        lost=lost,
        doubled=doubled,
        seconds=seconds,
        told="nothing; the same command with --run NEW goes on",
    )


def amount(run):
    """Rows of logs and trials, of all stages."""
    return sum(epochs_done(log.parent) for log in run.rglob("log.jsonl")) + len(identities(run))


def newer_yaml(path):
    """As a later version may write it: of another schema, with keys that nobody knows yet."""
    data = yaml.safe_load(path.read_text())
    schema = data["schema"].removesuffix("1") + "2"
    path.write_text(yaml.safe_dump({"novelty": [1], **data, "schema": schema}, sort_keys=False))
    return ["must be " + schema.removesuffix("2") + "1", schema]


def newer_checkpoint(path):
    state = load_checkpoint(path).state
    schema = state["schema"].removesuffix("1") + "2"
    save_checkpoint({**state, "schema": schema}, path)
    return ["must be tokennas/training/3", schema]


def newer_journal(path):
    with path.open("a") as file:
        for _ in range(2):
            file.write(json.dumps({"op_code": 99, "worker_id": "later", "novelty": 1}) + "\n")
    return ["cannot be opened: "]


def newer_status(path):
    path.write_text(json.dumps({**json.loads(path.read_text()), "novelty": 1}))
    return ["novelty"]


VERSIONS = [
    ("search/main/search.yaml", newer_yaml, ["search"]),
    ("search/main/front.yaml", newer_yaml, ["export"]),
    ("search/main/front.yaml", newer_yaml, ["retrain"]),
    ("retrain/main/80/arch.yaml", newer_yaml, ["retrain"]),
    ("retrain/main/80/arch.yaml", newer_yaml, ["retrain", "--archs", "[{path}]"]),
    ("retrain/main/80/arch.yaml", newer_yaml, ["evaluate", "--archs", "[{path}]"]),
    ("supernet/checkpoint.pt", newer_checkpoint, ["train"]),
    ("search/main/journal.log", newer_journal, ["search"]),
    ("search/main/status.json", newer_status, ["status"]),
]


def test_files_of_another_version_are_refused_in_a_line_and_left_alone(
    tmp_path, toy, capsys, ledger
):
    config, run = toy
    changed = []
    for number, (name, newer, command) in enumerate(VERSIONS):
        folder = tmp_path / str(number)
        shutil.copytree(run, folder)
        if name.endswith("checkpoint.pt"):
            (folder / "supernet" / "supernet.safetensors").unlink()
        words = newer(folder / name)
        before = contents(folder)
        stage, *options = (word.format(path=folder / name) for word in command)
        assert main([stage, str(config), "--run", str(folder), *options]) == 2, (name, command)
        (error,) = capsys.readouterr().err.splitlines()
        for word in (folder.name, name.rpartition("/")[2], *words):
            assert word in error, (name, command)
        after = contents(folder)
        changed += [each for each in before if after.get(each) != before[each]]
    assert changed == []
    ledger.add(
        56,
        "a file of another version: search, front, arch, checkpoint, journal, status",
        len(VERSIONS),
        lost=len(changed),
        told="file, and both versions where it has one; nothing is overwritten",
    )


def contents(run):
    """What a run's results are: all but locks, and what was asked for last."""
    return {
        path.relative_to(run): path.read_bytes()
        for path in run.rglob("*")
        if path.is_file() and path.name != "lock" and path != run / "config.yaml"
    }
