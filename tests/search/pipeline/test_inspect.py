"""`tokennas inspect` tells before a run what it will do, and what is wrong with it."""

import re

import numpy as np
import pytest
from dense_runs import DEPTH, SEGMENTATION, open_run, said, write_config
from PIL import Image
from search_toys import all_archs

from search.pipeline.inspect import estimate_training
from space.cost import backbone_macs
from supernet.training.sandwich import Sandwich


def test_the_timed_step_is_no_larger_than_one_of_training(tmp_path, monkeypatch):
    sizes, step = set(), Sandwich.__call__

    def record(self, batch, archs):
        sizes.add(len(batch.images))
        return step(self, batch, archs)

    monkeypatch.setattr(Sandwich, "__call__", record)
    run = open_run(write_config(tmp_path, DEPTH))
    assert estimate_training(run) > 0
    assert sizes == {run.config.data.batch} == {8}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--search.budget", "backbone_macs=10%"), "no arch is that cheap; the space reaches from"),
        (("--search.budget", "backbone_mac=70%"), "did you mean 'backbone_macs'?"),
        (("--search.objectives", "[miou, macs]"), "objectives: unknown 'miou'"),
        (("--retrain.budgets", "[macs=1%]"), "retrain.budgets[0]: budget macs="),
    ],
)
def test_objectives_and_budgets_are_refused_as_by_a_run(
    tmp_path, capsys, monkeypatch, options, message
):
    monkeypatch.setattr("search.pipeline.inspect.estimate_training", lambda run: pytest.fail())
    path = write_config(tmp_path, DEPTH)
    errors = []
    for command in ("inspect", "run"):
        shown = said(capsys, command, path, *options, code=2)
        errors.append(shown.splitlines()[-1])
    assert message in errors[0]
    assert errors[0] == errors[1]


def test_the_archs_inside_each_budget_are_counted(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("search.pipeline.inspect.estimate_training", lambda run: 1.0)
    path = write_config(tmp_path, DEPTH)
    shown = said(capsys, "inspect", path)
    space = open_run(path).space
    costs = [backbone_macs(arch, space.shape) for arch in all_archs(space)]
    full = backbone_macs(space.largest(), space.shape)
    for share in (0.8, 0.7):
        inside, size = sum(cost <= share * full for cost in costs), len(costs)
        line = rf"^inside backbone_macs=\S+: {inside:,} of {size:,} archs \({100 * inside / size:.3g}%\)$"
        assert re.search(line, shown, re.MULTILINE)
    assert "number of archs by MACs without head, from the lower bound on:" in shown
