"""The journal, cut and damaged; and what earlier versions stored in it."""

import json
import time

import optuna
import pytest
import yaml
from cutting import cut_and_go_on
from search_toys import Evaluate
from stored import SPACE, search, study_in

from search.study.journal import repair
from search.study.search_file import SEARCH_FILE
from search.study.storage import JOURNAL
from space import InputError


def test_everything_complete_before_a_cut_survives_and_the_loss_is_told(tmp_path):
    search(tmp_path / "whole", trials=15)
    raw = (tmp_path / "whole" / JOURNAL).read_bytes()
    ends = [i + 1 for i, byte in enumerate(raw) if byte == ord("\n")]
    cuts = [0, 1, len(raw) - 1, len(raw), *ends[:3], *(end - 1 for end in ends[-3:])]
    for cut in sorted(set(cuts)):
        found = cut_and_go_on(tmp_path / "whole", tmp_path / f"cut-{cut}", cut, trials=15)
        assert found.evaluated == 15 - found.complete, cut
        assert len(found.identities) == len(set(found.identities)) == 15
        assert bool(found.notes) == bool(found.torn), cut
        if found.torn:
            assert f"the last {found.torn} bytes were cut off" in found.notes[0]


def test_garbage_at_the_end_is_cut_and_in_the_middle_refused(tmp_path):
    search(tmp_path, trials=6)
    journal = tmp_path / JOURNAL
    good = journal.read_bytes()
    for garbage in (b"\x00" * 300, b"\xff\xfe\n", b"[1, 2]\n", b'"text"\n', b"{}\n\n\n", b"\n"):
        journal.write_bytes(good + garbage)
        assert f"the last {len(garbage)} bytes" in repair(journal)
        assert journal.read_bytes() == good
    lines = good.splitlines(keepends=True)
    journal.write_bytes(b"".join([*lines[:3], b"\x00\x01garbage\n", *lines[3:]]))
    with pytest.raises(InputError, match=r"journal\.log:4: no entry of a journal"):
        search(tmp_path, trials=9)


def test_a_line_that_lacks_only_its_newline_is_kept(tmp_path):
    search(tmp_path, trials=6)
    journal = tmp_path / JOURNAL
    good = journal.read_bytes()
    journal.write_bytes(good[:-1])
    assert repair(journal) is None
    assert journal.read_bytes() == good


def test_a_long_torn_line_is_found_from_the_end(tmp_path):
    journal = tmp_path / JOURNAL
    good = b'{"op_code":0}\n' + b'{"op_code":1,"x":"' + b"y" * 200_000 + b'"}\n'
    for torn in (b"", b"z" * 70_000, b"z" * 65_536, b"z" * 65_535):
        journal.write_bytes(good + torn)
        repair(journal)
        assert journal.read_bytes() == good


def test_very_many_empty_lines_are_cut_in_no_time(tmp_path):
    search(tmp_path, trials=5)
    journal = tmp_path / JOURNAL
    whole = journal.read_bytes()
    for torn in (b"\n" * 500_000, b"x" * 2_000_000, b"x\ny" * 30_000):
        journal.write_bytes(whole + torn)
        started = time.process_time()
        assert f"the last {len(torn)} bytes were cut off" in repair(journal)
        assert journal.read_bytes() == whole
        assert time.process_time() - started < 60, "not a speed: what is quadratic takes far longer"


def test_locks_and_names_that_a_killed_writer_left_do_not_stop_the_next(tmp_path):
    search(tmp_path, trials=6)
    lock = tmp_path / f"{JOURNAL}.lock"
    lock.symlink_to(tmp_path / JOURNAL)
    left = tmp_path / f"{JOURNAL}.lock1234.rename"
    left.symlink_to(tmp_path / JOURNAL)
    started = time.monotonic()
    assert search(tmp_path, trials=8)[0].evaluations == 8
    assert time.monotonic() - started < 20, "Optuna would wait for 30 seconds"
    assert not lock.is_symlink()
    assert not left.is_symlink()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda trial: trial["params"].update({"pool.2": 99}), "cannot be opened: "),
        (lambda trial: trial["user_attrs"].update(identity="x"), "is of arch 'x' where its genes"),
        (lambda trial: trial["user_attrs"].clear(), "is of arch None"),
        (lambda trial: trial["user_attrs"].update(metrics=[3]), "metrics must be numbers"),
        (lambda trial: trial["user_attrs"].update(metrics={"a": "b"}), "metrics must be numbers"),
        (lambda trial: trial.update(values=[1.0]), "cannot be opened: |1 values"),
        (lambda trial: trial.pop("study_id"), "cannot be opened: "),
        (lambda trial: trial.update(op_code=77), "cannot be opened: "),
    ],
)
def test_a_journal_that_says_something_else_is_refused_in_a_line(tmp_path, change, words):
    search(tmp_path, trials=6)
    journal = tmp_path / JOURNAL
    lines = journal.read_text().splitlines()
    entry = json.loads(lines[4])
    change(entry)
    lines[4] = json.dumps(entry)
    journal.write_text("\n".join(lines) + "\n")
    with pytest.raises(InputError, match=words) as caught:
        search(tmp_path, trials=9)
    assert "\n" not in str(caught.value)


def test_trials_of_another_space_are_refused(tmp_path):
    search(tmp_path, trials=6)
    described = yaml.safe_load((tmp_path / SEARCH_FILE).read_text())
    described["space"]["skip"]["ratios"] = [0.25]
    (tmp_path / SEARCH_FILE).write_text(yaml.safe_dump(described))
    other = type(SPACE).from_dict(described["space"], SPACE.shape)
    with pytest.raises(InputError, match="does not fit the space"):
        search(tmp_path, trials=40, space=other, evaluate=Evaluate(other))


@pytest.mark.parametrize("storage", [None, "sqlite"])
def test_estimates_alone_are_kept_though_they_do_not_count(tmp_path, storage):
    url = f"sqlite:///{tmp_path}/trials.db" if storage else None
    folder, toy = tmp_path / "main", Evaluate(SPACE)
    search(folder, 3, evaluate=lambda arch: {**toy(arch), "racing.seen": 0.5}, storage=url)
    front, _ = search(folder, 4, storage=url)
    assert front.evaluations == 4
    study = optuna.load_study(study_name=None, storage=url) if url else study_in(folder)
    estimates = ["racing.seen" in trial.user_attrs["metrics"] for trial in study.trials]
    assert estimates == [True] * 3 + [False] * 4
    with pytest.raises(InputError, match=r"objectives was .* in the results that are there"):
        search(folder, 5, objectives=["top1", "params"], storage=url)
