"""`tokennas inspect` tells before a run what it will do, and what is wrong with it."""

import re

import numpy as np
import pytest
from dense_runs import DEPTH, open_run, said, write_config
from dense_toys import dense_task
from PIL import Image
from search_toys import all_archs

from search.pipeline.inspect import estimate_training, show_maps
from space.cost import backbone_macs
from space.utils.yaml_file import read_yaml, write_yaml
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
        (("--search.budget", "latency_ms=60%"), "latency_ms needs a latency table"),
        (("--search.budget", "backbone_mac=70%"), "did you mean 'backbone_macs'?"),
        (("--search.objectives", "[miou, macs]"), "objectives: unknown 'miou'"),
        (("--retrain.budgets", "[macs=1%]"), "retrain.budgets[0]: budget macs="),
    ],
)
def test_objectives_and_budgets_are_refused_as_by_a_run(
    tmp_path, capsys, monkeypatch, options, message
):
    monkeypatch.setattr("search.pipeline.inspect.estimate_training", None)
    path = write_config(tmp_path, DEPTH)
    errors = []
    for command in ("inspect", "run"):
        shown = said(capsys, command, path, *options, code=2)
        errors.append(shown.splitlines()[-1])
        assert "distinct archs" in shown or command == "run"
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
        text = rf"{inside:,} of {size:,} archs \({100 * inside / size:.3g}%\)"
        assert re.search(rf"^inside backbone_macs=\S+: {text}$", shown, re.MULTILINE)
    assert "number of archs by MACs without head, from the lower bound on:" in shown


def test_what_a_few_maps_hold_and_that_only_these_were_opened(tmp_path, capsys):
    path = write_config(tmp_path, DEPTH)
    files = sorted((tmp_path / "data/depth").iterdir())
    for file in files:
        pixels = np.full((32, 48), 2500, np.uint16)
        pixels[0], pixels[1], pixels[2:10] = 900, 7300, 0
        Image.fromarray(pixels).save(file)
    run = open_run(path)
    run.console.quiet = False
    show_maps(run)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("depths of 8 maps: 0.9 to 7.3 m, median 2.5; 25% of the pixels")
    count = len(run.data.train.images)
    assert lines[1].startswith(f"only these 8 of {count} training images and their maps were open")
    # 48 x 32 images.
    values = read_yaml(path).data
    values["backbone"]["args"]["img_size"] = [24, 16]
    write_yaml(path, values | {"space": {"skip": {"ratios": [0.5]}}})
    run = open_run(path)
    run.console.quiet = False
    show_maps(run)
    assert capsys.readouterr().out.splitlines()[1] == (
        "images are 48 x 32 pixels (width x height), the input 16 x 24: they are squashed; "
        "backbone.args.img_size takes [height, width]"
    )


def test_the_labels_of_maps_are_those_of_the_task():
    task = dense_task({"name": "segmentation", "classes": ["floor", "wall", "door"], "ignore": 9})
    maps = [np.array([[0, 1, 1, 9]]), np.array([[1, 1, 1, 0]])]
    assert task.describe_maps([task.decode(each) for each in maps]) == (
        "labels of 2 maps: 2 of 3 classes (wall: 62%, floor: 25%); 12% of the pixels ignored"
    )
