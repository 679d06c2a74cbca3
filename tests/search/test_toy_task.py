"""A task that is defined in a test file alone goes through every stage of a run."""

import re

import pytest
from toy_task import ENTRY, NAME, registered

from search.cli.main import main
from search.front.front import Front
from space import load_arch_file
from space.utils.errors import InputError
from supernet import create_subnet
from supernet.tasks.registry import find_metric, register, task_class

CONFIG = """
backbone:
  model: vit_tiny_patch16_224
  args: {img_size: 16, patch_size: 4, embed_dim: 16, depth: 4, num_heads: 2}
data: {batch: 16, workers: 0, train_limit: 120, test_limit: 40, search_share: 0.3}
task: {name: number, scale: 0.1}
space:
  pool: {kinds: [avg2d], grids: [2], max_pools: 1}
  skip: {ratios: [0.5], selectors: [map]}
supernet: {epochs: 1, random_archs: 1}
search: {trials: 8, budget: "macs=90%"}
retrain: {epochs: 1, budgets: [60%]}
"""


@pytest.fixture(autouse=True)
def number():
    with registered():
        yield


def said(capsys, *words, code=0):
    assert main([str(word) for word in words]) == code
    captured = capsys.readouterr()
    return captured.out + captured.err


@pytest.mark.slow
def test_it_is_trained_searched_retrained_exported_and_reported(tmp_path, capsys):
    config, run = tmp_path / "number.yaml", tmp_path / "run"
    config.write_text(f"{CONFIG}run: {run}\n")
    shown = said(capsys, "run", config)
    assert re.search(r"rms on \d+ held-out images", " ".join(shown.split()))
    assert "rms retrained" in said(capsys, "retrain", config)
    assert "top1" not in shown
    front = Front.load(run / "search" / "main" / "front.yaml")
    assert [str(each) for each in front.objectives] == ["rms=min", "macs=min"]
    ranked = [entry.metrics["rms"] for entry in front.entries]
    assert front.best().metrics["rms"] == min(ranked)
    file = load_arch_file(run / "retrain" / "main" / "60" / "arch.yaml")
    assert set(file.metrics["retrained"]) == {"rms", "mae"}
    assert file.backbone["args"]["num_classes"] == 1
    assert file.classes == []
    create_subnet(file, run / "retrain" / "main" / "60" / "subnet.safetensors")
    said(capsys, "export", config, "--format", "safetensors")
    (card, *_) = (run / "export").rglob("README.md")
    assert "pipeline_tag: tabular-regression" in card.read_text()
    assert "A network that says a number" in card.read_text()
    report = said(capsys, "report", config)
    assert "root of the mean square" in report
    assert "rms" in said(capsys, "evaluate", config, "--archs", run / "export" / "main")
    # The same command goes on; another scale is another training.
    assert said(capsys, "run", config)
    config.write_text(f"{CONFIG}run: {run}\n".replace("0.1}", "0.2}"))
    assert "task.scale" in said(capsys, "train", config, code=2)


def test_values_of_a_task_are_checked(tmp_path, capsys):
    config = tmp_path / "number.yaml"
    for old, new, message in (
        ("scale: 0.1", "scale: no", "task.scale: must be a number"),
        ("scale: 0.1", "scales: 1", "task.scales: unknown key; did you mean 'scale'?"),
        ("name: number", "name: numbers", "did you mean 'number'?"),
    ):
        config.write_text(f"{CONFIG}run: {tmp_path / 'run'}\n".replace(old, new))
        assert message in said(capsys, "inspect", config, code=2)


def test_the_registry_knows_it_and_refuses_a_second():
    assert task_class(NAME).__name__ == "Number"
    assert find_metric("rms").direction == "min"
    with pytest.raises(InputError, match="task 'number': is registered already"):
        register(NAME, ENTRY)
