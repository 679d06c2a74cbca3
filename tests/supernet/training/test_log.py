import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from supernet.training.log import TrainingLog


def test_a_kill_while_rows_are_taken_up_loses_none(tmp_path, monkeypatch):
    path = tmp_path / "log.jsonl"
    path.write_text("".join(json.dumps({"epoch": i}) + "\n" for i in range(3)) + '{"epo')
    before = path.read_text()

    def killed(self, target):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            TrainingLog(tmp_path, "toy", quiet=True).drop_rows(2)
    assert path.read_text() == before
    TrainingLog(tmp_path, "toy", quiet=True).drop_rows(2)
    assert [json.loads(line)["epoch"] for line in path.read_text().splitlines()] == [0, 1]


def test_every_number_of_a_row_goes_to_tensorboard(tmp_path, monkeypatch):
    seen = []

    class Board:
        def add_scalar(self, name, value, epoch):
            seen.append((name, value, epoch))

    row = {"epoch": 3, "loss/largest": 1.5, "grad_norm": 2.25, "images_per_second": 10.0}
    journal = TrainingLog(tmp_path, "toy", quiet=True)
    monkeypatch.setattr(journal, "_tensorboard", Board())
    journal.add(row)
    assert {("loss/largest", 1.5, 3), ("grad_norm", 2.25, 3)} <= set(seen)


def test_a_narrow_terminal_shows_fewer_columns_and_a_log_all():
    kinds = ("largest", "smallest", "37%", "58%", "79%")
    row = {
        "epoch": 0,
        **{f"loss/{kind}": 1.0 for kind in ("largest", "selectors", "random")},
        "grad_norm": 4.0,
        **{f"top1/{kind}": 0.5 for kind in kinds},
        **{f"recall/{kind}": 0.5 for kind in ("selector", "previous map", "class row", "chance")},
        "images_per_second": 100.0,
    }

    def lines(width, terminal):
        journal = TrainingLog(None, "toy", units={"top1": "%", "recall": "%"})
        journal.console = Console(
            file=io.StringIO(), width=width, force_terminal=terminal, color_system=None
        )
        journal.add(row)
        return journal.console.file.getvalue().splitlines()[1:]

    whole, narrow, log = lines(200, True), lines(80, True), lines(80, False)
    assert whole == log
    assert max(map(len, whole)) > 100
    assert max(map(len, narrow)) <= 80
    assert not any(line.endswith(" ") for line in (*whole, narrow[-1]))
    for name in ("epoch", "largest", "norm", *kinds, "images/s"):
        assert name in narrow[1]
    assert "chance" not in narrow[1]
    said = " ".join(" ".join(narrow).split())
    left_out = "selectors, random, selector, previous map, class row, chance"
    assert f"left out, for a wider terminal or a log: {left_out} 1 " in said


def test_columns_keep_their_order_and_the_header_is_printed_once():
    journal = TrainingLog(None, "toy", units={"top1": "%"})
    journal.console = Console(file=io.StringIO(), width=200, color_system=None)
    first = {"largest": 1.0, "selectors": 2.0, "smallest": 3.0}
    swapped = {"largest": 4.0, "smallest": 6.0, "selectors": 5.0}
    for epoch, losses in enumerate((first, swapped, {"largest": 7.0}, {"random": 8.0, **first})):
        rest = {"grad_norm": 4.0, "top1/largest": 0.5, "images_per_second": 10.0}
        journal.add({"epoch": epoch, **{f"loss/{name}": x for name, x in losses.items()}, **rest})
    lines = [line.split() for line in journal.console.file.getvalue().splitlines()]
    headers = [line for line in lines if line[0] == "epoch"]
    columns = ["epoch", "largest", "selectors", "smallest", "norm", "largest", "images/s"]
    assert headers == [columns, [*columns[:4], "random", *columns[4:]]]
    rows = [line for line in lines if line[0].isdecimal()]
    assert [row[1:-3] for row in rows] == [
        ["1.000", "2.000", "3.000"],
        ["4.000", "5.000", "6.000"],
        ["7.000"],
        ["1.000", "2.000", "3.000", "8.000"],
    ]


def test_groups_stand_together_whatever_the_order_of_a_row():
    journal = TrainingLog(None, "toy", units={"top1": "%"})
    journal.console = Console(file=io.StringIO(), width=200, color_system=None)
    # The auxiliary losses of a step may follow its norm.
    row = {"epoch": 0, "loss/largest": 1.0, "grad_norm": 4.0, "loss/selectors": 2.0}
    journal.add({**row, "top1/largest": 0.5, "images_per_second": 10.0})
    header = journal.console.file.getvalue().splitlines()[-2].split()
    assert header == ["epoch", "largest", "selectors", "norm", "largest", "images/s"]
