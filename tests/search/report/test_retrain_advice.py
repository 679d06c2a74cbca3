"""A report after a search that went on: what was retrained is no longer called the best."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import report_runs as runs

from search.front.front import Front
from search.report.network_table import make_network_table
from search.report.run_results import read_run
from search.run import run_search
from search.utils.units import quantity
from space import load_arch
from space.utils.yaml_file import read_yaml, write_yaml

SPACE = runs.digits_space()


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    runs.make_run(folder, SPACE, trials=20, random=False, hand_made=False)
    want(folder, [*runs.BUDGETS])
    return folder


def want(run: Path, budgets: list[str]) -> None:
    """Let the config, and what the networks were retrained by, say these budgets."""
    recipe = {"retrain": {"budgets": budgets}}
    config = read_yaml(run / "config.yaml").data
    write_yaml(run / "config.yaml", config | recipe)
    for place in (run / "retrain" / "main").iterdir():
        write_yaml(place / "config.yaml", recipe)


def go_on(run: Path) -> Front:
    """Four times as many evaluations."""
    return run_search(
        space=SPACE,
        evaluate=lambda arch: runs.made_up_top1(arch, SPACE),
        budget="macs=90%",
        trials=80,
        sampler={"name": "NSGAIISampler", "population_size": 20},
        folder=run / "search" / "main",
        origin="made up",
    )


def within(front: Front, share: float):
    entry = front.best(macs=share * front.full["macs"])
    assert entry is not None
    return entry


def told(run: Path) -> str:
    """What table and notes say."""
    results = read_run(run, "main")
    final = make_network_table(results.networks, results.score, results.test_score)
    cells = [cell for row in final.rows for cell in row]
    return " ".join([*cells, *final.notes, *results.missing])


def test_a_better_arch_that_is_not_retrained_is_named(run: Path) -> None:
    assert "no longer the best" not in told(run)
    assert "outdated" not in told(run)
    front = go_on(run)
    held = {name: load_arch(run / "retrain" / "main" / name / "arch.yaml") for name in runs.BUDGETS}
    best = {name: within(front, share) for name, share in runs.BUDGETS.items()}
    old = {name for name, arch in held.items() if best[name].arch != arch}
    assert old
    networks = {network.name: network for network in read_run(run, "main").networks}
    assert {name for name, network in networks.items() if network.better is not None} == old
    for name in old:
        value = f"top-1 {100 * best[name].metrics['top1']:.1f} % on the search split"
        assert f"{name} is no longer the best: the search has since found a better" in told(run)
        assert f"{value}), which is not yet retrained; `tokennas retrain {run}` does" in told(run)
        assert f"{name} (outdated)" in told(run)
    # Where the better one is retrained by another name, it is said so.
    name = sorted(old)[0]
    runs.write_retrained(run, "main", "60%", best[name].arch, SPACE)
    assert f"found a better arch ({quantity(best[name].metrics['macs'])} MACs" in told(run)
    assert "which is retrained as 60%." in told(run)
    shutil.rmtree(run / "retrain" / "main" / "60%")
    # A budget that the config has no more is not one to retrain for.
    config = read_yaml(run / "config.yaml").data
    write_yaml(run / "config.yaml", config | {"retrain": {"budgets": ["20%"]}})
    assert f"{name} is no longer the best" in told(run)
    assert "which is not yet retrained." in told(run)
    # Of a given arch file, of that name, nobody said that it was the best.
    want(run, ["20%"])
    assert "outdated" not in told(run)
    shutil.rmtree(run / "search")
    assert "outdated" not in told(run)


def test_a_budget_without_a_network_of_its_own_is_named_too(run: Path) -> None:
    # Of 36 per cent the best was that of 35 per cent too.
    want(run, [*runs.BUDGETS, "36%"])
    assert "The best within" not in told(run)
    best = within(go_on(run), 0.36)
    assert best.arch not in {network.arch for network in read_run(run, "main").networks}
    line = f"The best within 36% ({quantity(best.metrics['macs'])} MACs, top-1 "
    assert line in told(run)
    assert f"is not retrained; `tokennas retrain {run}` does." in told(run)
    assert "The best within 35%" not in told(run)
    # One that is begun, or has failed, is named as such.
    (run / "retrain" / "main" / "36").mkdir()
    assert "The best within 36%" not in told(run)
    assert "retrain/main/36 is not finished" in told(run)


def test_of_given_arch_files_nothing_of_the_kind_is_said(run: Path) -> None:
    want(run, ["20%", "45%"])
    go_on(run)
    assert "The best within" not in told(run)


def test_what_is_advised_is_of_the_search_that_is_reported(run: Path) -> None:
    go_on(run)
    for stage in ("search", "retrain"):
        (run / stage / "main").rename(run / stage / "half")
    lines = [line for line in read_run(run, "half").missing if "not yet retrained" in line]
    assert lines
    assert all(f"`tokennas retrain {run} --search.name half` does" in line for line in lines)
