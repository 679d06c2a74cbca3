"""A report after a search that went on: what was retrained is no longer called the best."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import report_runs as runs

from search.budget import quantity
from search.front import Front, FrontEntry
from search.report.contents import read_run
from search.report.outdated import describe_outdated
from search.report.table import final_table
from search.run import run_search
from space import load_arch
from space.yamlfile import write_yaml


def told(run: Path) -> str:
    """What table and headings say."""
    contents = read_run(run, "main")
    final = final_table(contents.choices, contents.score, contents.test)
    cells = [cell for row in final.rows for cell in row]
    return " ".join([*cells, *final.notes, *(each.title for each in contents.choices)])


def test_a_better_arch_that_is_not_retrained_is_named(tmp_path: Path) -> None:
    space, run = runs.digits_space(), tmp_path / "run"
    runs.make_run(run, space, trials=20, random=False, hand_made=False)
    for place in (run / "retrain" / "main").iterdir():
        write_yaml(place / "config.yaml", {"retrain": {"budgets": [*runs.BUDGETS]}})
    assert "no longer the best" not in told(run)
    assert "outdated" not in told(run)
    front = run_search(
        space=space,
        evaluate=lambda arch: runs.made_up_top1(arch, space),
        budget="macs=90%",
        trials=80,
        sampler={"name": "NSGAIISampler", "population_size": 20},
        folder=run / "search" / "main",
        origin="made up",
    )
    held = {name: load_arch(run / "retrain" / "main" / name / "arch.yaml") for name in runs.BUDGETS}
    best = {name: entry_within(front, share) for name, share in runs.BUDGETS.items()}
    old = {name for name, arch in held.items() if best[name].arch != arch}
    assert old
    choices = {choice.name: choice for choice in read_run(run, "main").choices}
    assert {name for name, choice in choices.items() if choice.better is not None} == old
    for name in old:
        value = f"top-1 {100 * best[name].metrics['top1']:.1f} % on the search split"
        assert f"{name} is no longer the best: the search has since found a better" in told(run)
        assert value in told(run)
        assert f"{name} (outdated)" in told(run)
        assert f"Best within {name} of the MACs, until the search went on" in told(run)
    # Where the better one is retrained by another name, it is said so.
    name, other = sorted(old)[0], run / "retrain" / "main" / "60%"
    runs.write_retrained(run, "main", "60%", best[name].arch, space)
    assert f"found a better arch ({quantity_of(best[name])} MACs" in told(run)
    assert "which is retrained as 60%." in told(run)
    shutil.rmtree(other)
    # Of a given arch file, of that name, nobody said that it was the best.
    for place in (run / "retrain" / "main").iterdir():
        write_yaml(place / "config.yaml", {"retrain": {"budgets": ["20%"]}})
    assert "outdated" not in told(run)
    shutil.rmtree(run / "search")
    assert "outdated" not in told(run)


def quantity_of(entry: FrontEntry) -> str:
    return quantity(entry.metrics["macs"])


def entry_within(front: Front, share: float):
    entry = front.best(macs=share * front.full["macs"])
    assert entry is not None
    return entry


def test_budgets_without_a_network_of_their_own_and_random_networks_are_named_too(tmp_path: Path):
    space, run = runs.digits_space(), tmp_path / "run"
    runs.make_run(run, space, trials=20, random=False, hand_made=False)
    front = Front.load(run / "search" / "main" / "front.yaml")
    for place in (run / "retrain" / "main").iterdir():
        # Of 36 per cent the best was that of 35 per cent too.
        write_yaml(place / "config.yaml", {"retrain": {"budgets": [*runs.BUDGETS, "36%"]}})
    search_random(run, 20)
    runs.write_retrained(run, "main", "random_50", entry_within(front, 0.4).arch, space)
    made = run / "retrain" / "main" / "random_50" / "arch.yaml"
    made.write_text(made.read_text() + "origin: {choice: random 50%}\n")
    before = " ".join(read_run(run, "main").missing)
    assert "since" not in before
    front = run_search(
        space=space,
        evaluate=lambda arch: runs.made_up_top1(arch, space),
        budget="macs=90%",
        trials=80,
        sampler={"name": "NSGAIISampler", "population_size": 20},
        folder=run / "search" / "main",
        origin="made up",
    )
    retrained = {choice.arch for choice in read_run(run, "main").choices}
    assert entry_within(front, 0.36).arch not in retrained
    after = " ".join(read_run(run, "main").missing)
    assert "Within 36% the search has since found a better arch" in after
    assert "Within 35%" not in after
    assert "random 50% is the best of 20 random archs, the search has evaluated 80;" in after
    folder, few = run / "search" / "main", space.mac_bands.count(0, 0.5 * front.full["macs"])
    whole = dataclasses.replace(front, evaluations=few.value + 1)
    choices = read_run(run, "main").choices
    for known, says in ((space, True), (None, True)):
        found = describe_outdated(choices, whole, folder, known)
        assert any("random 50%" in line for line in found) is says
    # Once all archs within the budget are evaluated, nobody can draw more.
    random = Front.load(folder / "random_50" / "front.yaml")
    dataclasses.replace(random, evaluations=few.value).save(folder / "random_50" / "front.yaml")
    assert not any(
        "random 50%" in line for line in describe_outdated(choices, whole, folder, space)
    )
    random.save(folder / "random_50" / "front.yaml")
    search_random(run, 80)
    assert "random 50% is the best" not in " ".join(read_run(run, "main").missing)


def search_random(run: Path, trials: int) -> None:
    """What `retrain.random` keeps beside the search."""
    space = runs.digits_space()
    run_search(
        space=space,
        evaluate=lambda arch: runs.made_up_top1(arch, space),
        budget="macs=50%",
        trials=trials,
        sampler="RandomSampler",
        folder=run / "search" / "main" / "random_50",
        origin="made up",
    )
