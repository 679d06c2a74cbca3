"""Depth and segmentation go through every stage of a run; toy data made by code."""

import importlib
import json
import math
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from dense_runs import DEPTH, SEGMENTATION, open_run, said, write_config
from PIL import Image

from search.cli.main import main
from search.front.front import Front
from search.portfolio import Portfolio
from search.report.samples_data import read_samples
from space import Arch, load_arch_file, macs
from space.baselines import baselines
from space.cost import backbone_macs
from space.utils.yaml_file import read_yaml, write_yaml
from supernet import create_subnet
from supernet.data.map_reading import read_map

ROOT = Path(__file__).parents[2]
# Each test begins with a run through all stages.
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def depth(tmp_path_factory):
    """A whole run of depth: config and folder."""
    folder = tmp_path_factory.mktemp("depth")
    path = write_config(folder, DEPTH)
    assert main(["run", str(path)]) == 0
    return path, folder / "run"


def test_the_best_by_rmse_within_the_backbones_macs_is_retrained(depth):
    _, run = depth
    front = Front.load(run / "search" / "main" / "front.yaml")
    assert [str(each) for each in front.objectives] == ["rmse=min", "macs=min"]
    full = backbone_macs(Arch.full(front.shape.depth), front.shape)
    limit = 0.7 * full
    within = [each for each in front.entries if backbone_macs(each.arch, front.shape) <= limit]
    file = load_arch_file(run / "retrain" / "main" / "backbone_macs_70" / "arch.yaml")
    assert file.arch == min(within, key=lambda each: each.metrics["rmse"]).arch
    assert all(backbone_macs(each.arch, front.shape) <= 0.8 * full for each in front.entries)
    assert set(file.metrics["retrained"]) == {"rmse", "abs_rel", "delta1", "silog"}
    assert set(file.metrics["standard_errors"]) == {"rmse", "abs_rel", "delta1", "silog"}
    assert file.task["name"] == "depth"
    assert file.backbone["args"]["num_classes"] == 0


def test_hand_made_archs_have_the_same_limit(depth):
    path, run = depth
    space = open_run(path).space
    limit = 0.7 * backbone_macs(space.largest(), space.shape) + space.shape.head.macs
    wanted = {each.arch for each in baselines(space, limit) if each.arch is not None}
    assert wanted
    folders = [each for each in (run / "retrain" / "main").glob("*") if each.is_dir()]
    found = {load_arch_file(folder / "arch.yaml").arch for folder in folders}
    assert wanted <= found


def test_the_stored_error_is_that_of_the_mean_over_the_images(depth):
    path, run = depth
    folder = run / "retrain" / "main" / "full"
    file = load_arch_file(folder / "arch.yaml")
    context = open_run(path)
    subnet = create_subnet(folder / "arch.yaml", folder / "subnet.safetensors").eval()
    statistics = context.test.statistics(subnet)
    for name in ("rmse", "silog"):
        values = statistics[name]
        assert file.metrics["retrained"][name] == pytest.approx(values.mean(), rel=1e-5)
        error = values.std(ddof=1) / math.sqrt(len(values))
        assert file.metrics["standard_errors"][name] == pytest.approx(error, rel=1e-3)


def test_pictures_show_the_networks_own_predictions_and_tokens(depth):
    path, run = depth
    context = open_run(path)
    images = context.data.test.dataset
    for folder in (run / "retrain" / "main").glob("*/"):
        samples = read_samples(folder / "samples.npz")
        assert len(samples) == 4
        subnet = create_subnet(folder / "arch.yaml", folder / "subnet.safetensors").eval()
        with torch.inference_mode():
            output, chosen = subnet.forward_with_choices(images[-1, 0][0][None])
        target = images[-1, 0][1].numpy()
        prediction = context.task.predict(output, target.shape)[0].numpy()
        assert (samples.truths[0] == target).all()
        assert samples.predictions[0] == pytest.approx(prediction, rel=1e-5)
        assert (samples.classes, samples.void) == ((), 0.0)
        statistics = context.test.statistics(subnet)
        assert samples.scores[0] == pytest.approx(statistics["rmse"][0], rel=1e-5)
        assert len(samples.kept) == len(chosen) == subnet.runs
        for mask, indices in zip(samples.kept.values(), chosen, strict=True):
            assert np.flatnonzero(mask[0]).tolist() == indices[0].tolist()
    report = run / "report" / "main"
    assert Image.open(report / "predictions.png").width > 500
    networks = (run / "retrain" / "main").glob("*/samples.npz")
    skipping = {each.parent.name for each in networks if read_samples(each).kept}
    assert skipping
    assert {each.name for each in report.glob("tokens-*.png")} == {
        f"tokens-{name}.png" for name in skipping
    }
    page = (report / "report.html").read_text()
    assert "Predictions on test images" in page
    assert "relative error" in page
    assert "without head" in page


def test_pictures_are_in_the_precision_of_the_training(depth, tmp_path, capsys):
    path, run = depth
    full = run / "retrain" / "main" / "full" / "arch.yaml"
    shutil.copy(full, tmp_path / "half.yaml")
    words = "--archs", tmp_path / "half.yaml", "--search.name", "other", "--retrain.amp", "true"
    said(capsys, "retrain", path, *words)
    folder, context = run / "retrain" / "other" / "half", open_run(path)
    samples = read_samples(folder / "samples.npz")
    subnet = create_subnet(folder / "arch.yaml", folder / "subnet.safetensors").eval()
    images = context.data.test.dataset
    at = [images.indices.tolist().index(i) for i in samples.indices]
    pixels = torch.stack([images[-1, k][0] for k in at])
    for on in (True, False):
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=on):
            output = subnet(pixels).float()
        found = context.task.predict(output, samples.truths[0].shape).numpy()
        assert np.array_equal(found, np.stack(samples.predictions)) is on


def test_saved_predictions_are_what_the_network_says(depth, tmp_path, capsys):
    path, run = depth
    folder = run / "retrain" / "main" / "full"
    saved = tmp_path / "maps"
    shown = said(capsys, "evaluate", path, "--archs", folder, "--save", saved)
    assert f"{saved / 'full'}: 8 predicted maps" in shown
    context = open_run(path)
    subnet = create_subnet(folder / "arch.yaml", folder / "subnet.safetensors").eval()
    names = (path.parent / "data" / "test.txt").read_text().split()
    for i, name in enumerate(names):
        image, target, _ = context.data.test.dataset[-1, i]
        with torch.inference_mode():
            wanted = context.task.predict(subnet(image[None]), target.shape)[0]
        found = read_map(saved / "full" / f"{name}.png") / 1000
        assert found == pytest.approx(wanted.numpy(), abs=6e-4)


def test_the_same_command_goes_on_and_changes_nothing(depth, capsys):
    path, run = depth
    files = {each: each.read_bytes() for each in run.rglob("arch.yaml")}
    assert "report" in said(capsys, "run", path)
    assert files == {each: each.read_bytes() for each in run.rglob("arch.yaml")}


def test_exports_are_files_of_depth(depth, tmp_path, capsys):
    path, run = depth
    folder = run / "retrain" / "main" / "backbone_macs_70"
    pytest.importorskip("onnxscript")
    onnxruntime = pytest.importorskip("onnxruntime")
    said(capsys, "export", path, "--archs", folder, "--format", "onnx", "safetensors")
    exported = run / "export" / "main" / folder.name
    card = (exported / "README.md").read_text()
    assert "pipeline_tag: depth-estimation" in card
    assert "A network that estimates depth" in card
    assert "RMSE (m), retrained" in card
    assert "`depth`, is depth in metres on a map of" in card
    subnet = create_subnet(folder / "arch.yaml", folder / "subnet.safetensors").eval()
    images = torch.stack([open_run(path).data.test.dataset[-1, i][0] for i in range(3)])
    session = onnxruntime.InferenceSession(exported / "model.onnx")
    (found,) = session.run(["depth"], {"images": images.numpy()})
    with torch.inference_mode():
        assert found == pytest.approx(subnet(images).numpy(), rel=1e-4)
    config = json.loads((exported / "config.json").read_text())
    assert config["pretrained_cfg"]["crop_mode"] == "squash"
    assert config["model_args"]["arch"]["task"]["name"] == "depth"


def test_a_portfolio_gives_the_maps_of_its_supernet(depth, capsys):
    path, run = depth
    said(capsys, "export", path, "--format", "portfolio")
    portfolio = Portfolio.load(run / "export" / "main" / "portfolio")
    context = open_run(path).load_trained()
    images = torch.stack([context.data.test.dataset[-1, i][0] for i in range(2)])
    with torch.inference_mode():
        for subnet in portfolio:
            expected = context.supernet.eval()(images, subnet.entry.arch)
            assert torch.equal(subnet(images), expected)
    best = portfolio.at(backbone_macs="60%").entry.arch
    shape = context.space.shape
    limit = 0.6 * backbone_macs(context.space.largest(), shape)
    assert backbone_macs(best, shape) <= limit < macs(context.space.largest(), shape)


def test_a_teacher_with_the_head_of_the_task_is_a_checkpoint_of_ones_own(depth, tmp_path, capsys):
    path, run = depth
    values = read_yaml(path).data
    weights = run / "retrain" / "main" / "full" / "subnet.safetensors"
    teacher = {**values["backbone"], "checkpoint": str(weights)}
    values |= {"run": str(tmp_path / "taught"), "supernet": {"epochs": 1, "teacher": teacher}}
    write_yaml(tmp_path / "taught.yaml", values)
    said(capsys, "train", tmp_path / "taught.yaml")
    values["supernet"]["teacher"] = {**teacher, "checkpoint": None}
    values["run"] = str(tmp_path / "untaught")
    write_yaml(tmp_path / "untaught.yaml", values)
    shown = said(capsys, "train", tmp_path / "untaught.yaml", code=2)
    assert "must come with weights for the task depth a linear head" in shown


def test_one_dimensional_pooling_is_refused_with_the_reason(tmp_path, capsys):
    path = write_config(tmp_path, DEPTH)
    pool = '{"kinds": ["avg1d"], "strides": [2]}'
    shown = said(capsys, "inspect", path, "--space.pool", pool, code=2)
    assert "space.pool" in shown
    assert "leaves no token grid, which the head of a dense task reads" in shown


def test_classification_has_no_maps_to_save(tmp_path, capsys):
    shown = said(
        capsys,
        *("evaluate", "configs/quickstart.yaml", "--run", tmp_path / "run"),
        *("--archs", "any.yaml", "--save", tmp_path / "maps"),
        code=2,
    )
    assert "--save: the task classification predicts no maps that could be saved" in shown


def test_segmentation_goes_through_every_stage(tmp_path, capsys):
    path = write_config(tmp_path, SEGMENTATION)
    shown = said(capsys, "run", path, "--retrain.budgets", "[backbone_macs=75%]")
    assert "miou" in shown
    run = tmp_path / "run"
    front = Front.load(run / "search" / "main" / "front.yaml")
    assert [str(each) for each in front.objectives] == ["miou=max", "macs=min"]
    # mIoU is no mean over images: its leads have the errors of the jackknife.
    assert front.images
    assert all(lead is not None and lead.error > 0 for lead in front.leads[:-1])
    file = load_arch_file(run / "retrain" / "main" / "full" / "arch.yaml")
    assert 0 < file.metrics["standard_errors"]["miou"] < 0.2
    assert file.classes == ["0", "1", "2", "3", "4"]
    said(capsys, "evaluate", path, "--archs", run / "retrain" / "main" / "full", "--save", tmp_path)
    names = (tmp_path / "data" / "test.txt").read_text().split()
    labels = read_map(tmp_path / "full" / f"{names[0]}.png")
    assert labels.shape == (32, 48)
    assert labels.max() < 5
    said(
        capsys,
        "export",
        path,
        "--format",
        "onnx",
        "torch-export",
        "--archs",
        run / "retrain/main/full",
    )
    assert (run / "export" / "main" / "full" / "model.pt2").exists()


def test_the_benchmark_splits_the_error_of_each_network(depth, capsys, monkeypatch):
    path, run = depth
    sys.path.append(str(ROOT / "benchmarks"))
    monkeypatch.setattr(sys, "argv", ["error_scales.py", str(path), "2x2", "4x4"])
    importlib.import_module("error_scales").main()
    table, more = capsys.readouterr().out.split("\nmore than the full network\n")
    values = {line.split()[0]: [*map(float, line.split()[1:])] for line in table.splitlines()[1:]}
    folders = {each.parent.name: each.parent for each in run.glob("retrain/main/*/arch.yaml")}
    assert values.keys() == folders.keys() == {"full", *(x.split()[0] for x in more.splitlines())}
    for name, (*parts, mse) in values.items():
        network = create_subnet(folders[name] / "arch.yaml", folders[name] / "subnet.safetensors")
        rmse = open_run(path).test.statistics(network.eval())["rmse"]
        assert mse == pytest.approx(np.square(rmse).mean(), abs=1e-4)
        assert sum(parts) == pytest.approx(mse, abs=3e-4)


@pytest.mark.cluster
def test_workers_evaluate_and_retrain_maps_as_this_process_does(depth, tmp_path, capsys):
    path, run = depth
    words = ["--search.workers", "2", "--search.name", "ray", "--search.trials", "6"]
    said(capsys, "search", path, *words)
    said(capsys, "search", path, "--search.name", "alone", "--search.trials", "6")
    rays, alone = (Front.load(run / "search" / name / "front.yaml") for name in ("ray", "alone"))
    values = {each.identity: each.values for each in rays.entries}
    same = [each for each in alone.entries if each.identity in values]
    assert same
    for each in same:
        assert each.values == pytest.approx(values[each.identity], rel=1e-5)
    said(capsys, "retrain", path, "--search.name", "ray", "--retrain.workers", "2")
    assert (run / "retrain" / "ray" / "full" / "samples.npz").exists()
