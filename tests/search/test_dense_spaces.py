"""Dense runs in spaces of their own: with rules, and selectors against `random`."""

import importlib
import sys
from pathlib import Path
from statistics import mean

import pytest
from dense_runs import DEPTH, open_run, said, write_config
from dense_toys import SPACE

from search.front.front import Front
from search.pipeline.run_evaluator import RunEvaluator
from space import Arch, BlockArch, load_arch_file
from supernet import extract

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
pytestmark = pytest.mark.slow


def test_a_run_that_keeps_the_grid_skips_and_shares(tmp_path, capsys):
    space = {
        "skip": {**SPACE["skip"], "ratios": [0.5, 0.75]},
        "share": SPACE["share"],
        "rules": {"keep_grid": True},
    }
    path = write_config(tmp_path, DEPTH, space=space)
    assert ", by the rules keep_grid" in said(capsys, "inspect", path)
    said(capsys, "run", path)
    stage = tmp_path / "run" / "retrain" / "main"
    retrained = {each.parent.name: load_arch_file(each).arch for each in stage.glob("*/arch.yaml")}
    control = "baseline_alternate_skip_backbone_macs_70"
    assert {"full", "backbone_macs_70", control} <= retrained.keys()
    front = Front.load(tmp_path / "run" / "search" / "main" / "front.yaml")
    blocks = [block for each in front.entries for block in each.arch.blocks]
    assert any(block.skip for block in blocks)
    assert any(block.attention != "own" for block in blocks)


def test_choices_that_no_arch_may_have_are_told(tmp_path, capsys):
    pool = {**SPACE["pool"], "kinds": ["avg1d", "avg2d"], "strides": [2]}
    path = write_config(tmp_path, DEPTH, space={**SPACE, "pool": pool}, supernet={"epochs": 1})
    told = "space.pool: no arch has these choices: pool avg1d"
    assert told in said(capsys, "inspect", path)
    assert told in said(capsys, "train", path)


def compare(monkeypatch, *words):
    sys.path.append(str(BENCHMARKS))
    monkeypatch.setattr(sys, "argv", ["compare_selectors.py", *map(str, words)])
    benchmark = importlib.import_module("compare_selectors")
    benchmark.main()
    return benchmark


def chosen_by(arch, selector):
    """The arch with this selector in each block that skips."""
    blocks = [
        BlockArch(b.pool, b.skip, selector, b.attention) if b.skip else b for b in arch.blocks
    ]
    return Arch(tuple(blocks))


def test_the_benchmark_compares_selectors_in_the_same_archs(tmp_path, capsys, monkeypatch):
    selectors = ["map", "cls", "random"]
    skip = {**SPACE["skip"], "selectors": selectors}
    path = write_config(tmp_path, DEPTH, space={**SPACE, "skip": skip})
    said(capsys, "train", path)
    benchmark = compare(monkeypatch, path, 6)
    head, *rows = capsys.readouterr().out.splitlines()
    evaluator = RunEvaluator(open_run(path).load_trained())()
    supernet, held_out = evaluator.supernet.eval(), evaluator.held_out
    archs = benchmark.draw_archs(supernet.space, 6)
    assert head.startswith(f"6 archs, {len(held_out)} images; full network ")
    values = {
        name: [
            held_out.statistics(extract(supernet, chosen_by(arch, name)))["rmse"] for arch in archs
        ]
        for name in selectors
    }
    shown = {row.split()[0]: row.split()[1:] for row in rows[2:]}
    assert [*shown] == selectors
    for name, (value, gap, _, wins) in shown.items():
        rmse, control = ([each.mean() for each in values[x]] for x in (name, "random"))
        assert float(value) == pytest.approx(mean(rmse), abs=1e-4)
        assert float(gap) == pytest.approx(mean(rmse) - mean(control), abs=1e-4)
        better = sum(one < other for one, other in zip(rmse, control, strict=True))
        assert wins == f"{better}/6"


def test_a_space_without_the_control_is_refused(tmp_path, monkeypatch):
    path = write_config(tmp_path, DEPTH)
    with pytest.raises(SystemExit, match="the space has no selector random, with which to compare"):
        compare(monkeypatch, path)
