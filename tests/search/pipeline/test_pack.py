"""Folders of exported networks: a toy run's, from the command line."""

import json
import shutil

import pytest
import torch
from huggingface_hub import ModelCard
from stages_config import CONFIG

from search.cli.main import main
from search.pipeline.pack import CARD, RECORD_FILE
from space import load_arch_file, save_arch
from supernet import create_subnet
from supernet.export import formats

FILES = ["README.md", "arch.yaml", "config.json", "export.json", "model.safetensors"]
SEARCH = "search: {trials: 6, sampler: RandomSampler}\n"
RETRAIN = "retrain: {epochs: 1, full: false, budgets: [80%]}\n"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run with a front and one retrained network."""
    folder = tmp_path_factory.mktemp("packing")
    (folder / "toy.yaml").write_text(CONFIG + SEARCH + RETRAIN + f"run: {folder / 'run'}\n")
    for stage in ("train", "search", "export", "retrain"):
        assert main([stage, str(folder / "toy.yaml")]) == 0
    return folder


@pytest.fixture
def config(whole, tmp_path):
    shutil.copytree(whole / "run", tmp_path / "run")
    path = tmp_path / "toy.yaml"
    path.write_text(CONFIG + SEARCH + RETRAIN + f"run: {tmp_path / 'run'}\n")
    return path


def retrained(config):
    return config.parent / "run" / "retrain" / "main" / "80" / "arch.yaml"


def place(config, name="80"):
    return config.parent / "run" / "export" / "main" / name


def left(folder):
    return sorted(path.name for path in folder.iterdir())


def stamps(folder):
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("model.*")}


def refused(capsys, *argv):
    capsys.readouterr()
    assert main([str(word) for word in argv]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


def test_a_retrained_network_is_exported_with_its_own_weights(config, capsys):
    argv = ["export", str(config), "--archs", str(retrained(config)), "--format", "safetensors"]
    assert main(argv) == 0
    assert left(place(config)) == FILES
    assert "model.safetensors: logits within 0.0e+00 on 35 images" in capsys.readouterr().out
    subnet = create_subnet(place(config) / "arch.yaml", place(config) / "model.safetensors").eval()
    own = create_subnet(retrained(config), retrained(config).with_name("subnet.safetensors")).eval()
    images = torch.randn(3, 3, 16, 16)
    assert torch.equal(subnet(images), own(images))
    assert load_arch_file(place(config) / "arch.yaml") == load_arch_file(retrained(config))


def test_its_card_says_what_was_measured_and_on_what(config):
    assert (
        main(["export", str(config), "--archs", str(retrained(config)), "--format=safetensors"])
        == 0
    )
    file = load_arch_file(retrained(config))
    card = ModelCard.load(place(config) / CARD)
    said = card.data.to_dict()
    assert said["library_name"] == "timm"
    assert "license" not in said
    found = {each.metric_name: each for each in card.data.eval_results}
    top1 = found["top-1, retrained"]
    assert top1.metric_value == file.metrics["retrained"]["top1"]
    assert (top1.dataset_name, top1.dataset_split) == ("digits", "test")
    assert not [name for name in found if "retrained" not in name]
    for words in (
        "top-1, retrained | ",
        "40 images of the test split",
        "10 classes: 0, 1",
        "local-dir:FOLDER",
    ):
        assert words in card.text
    assert "onnxruntime" not in card.text
    assert "starting from random weights" in card.text
    assert str(config.parent) not in card.text


def test_networks_of_the_front_are_judged_by_the_search_split_and_the_card_warns(config):
    assert main(["export", str(config), "--format", "safetensors"]) == 0
    for path in place(config, "").glob("*_*.yaml"):
        card = ModelCard.load(place(config, path.stem) / CARD)
        metrics = load_arch_file(path).metrics["search"]
        found = {each.metric_name: each.metric_value for each in card.data.eval_results}
        assert found["top-1, with the supernet's weights"] == metrics["top1"]
        assert {each.dataset_split for each in card.data.eval_results} == {"search"}
        assert "35 images of the search split" in card.text
        assert "Archs were chosen by it" in card.text


def test_figures_of_another_supernet_are_left_out(config):
    file = load_arch_file(next(place(config, "").glob("*_*.yaml")))
    values = {**vars(file), "origin": {"supernet": "another"}}
    save_arch(path=config.parent / "other.yaml", **values)
    archs = str(config.parent / "other.yaml")
    assert main(["export", str(config), "--archs", archs, "--format", "safetensors"]) == 0
    assert load_arch_file(place(config, "other") / "arch.yaml").metrics == {}
    assert ModelCard.load(place(config, "other") / CARD).data.eval_results is None


def test_it_goes_on_where_it_stopped_and_adds_formats(config, capsys):
    argv = ["export", str(config), "--archs", str(retrained(config)), "--format"]
    assert main([*argv, "safetensors"]) == 0
    before = stamps(place(config))
    capsys.readouterr()
    assert main([*argv, "safetensors", "torch-export"]) == 0
    assert f"{place(config) / 'model.safetensors'}: already exported" in capsys.readouterr().out
    both = stamps(place(config))
    assert both["model.safetensors"] == before["model.safetensors"]
    assert set(json.loads((place(config) / RECORD_FILE).read_text())["checks"]) == {
        "safetensors",
        "torch-export",
    }
    assert "torch.export.load" in (place(config) / CARD).read_text()
    (place(config) / "model.safetensors").unlink()
    assert main([*argv, "safetensors", "torch-export"]) == 0
    after = stamps(place(config))
    assert after["model.safetensors"] != both["model.safetensors"]
    assert after["model.pt2"] == both["model.pt2"]


def test_it_goes_on_from_the_folder_that_it_made(config):
    path, argv = place(config, ""), ["export", str(config), "--format", "safetensors"]
    assert main(argv) == 0
    name = next(path.glob("*_*.yaml")).stem
    before = {each: each.read_bytes() for each in place(config, name).iterdir()}
    assert main([*argv, "--archs", str(place(config, name) / "arch.yaml")]) == 0
    # The weights lie beside the arch file now; they still are the supernet's.
    assert {each: each.read_bytes() for each in place(config, name).iterdir()} == before


def test_a_folder_of_something_else_is_never_written_over(config, capsys):
    archs = ["--archs", retrained(config), "--format", "safetensors"]
    assert main(["export", str(config), *map(str, archs)]) == 0
    before = {path: path.read_bytes() for path in place(config).iterdir()}
    weights = retrained(config).with_name("subnet.safetensors")
    kept = weights.rename(weights.with_suffix(".kept"))
    assert "holds an export of other weights" in refused(capsys, "export", config, *archs)
    kept.rename(weights)
    file = load_arch_file(retrained(config))
    others = map(load_arch_file, place(config, "").glob("*_*.yaml"))
    other = next(each.arch for each in others if each.arch != file.arch)
    weights.unlink()
    save_arch(path=retrained(config), **{**vars(file), "arch": other})
    assert "80: holds another arch" in refused(capsys, "export", config, *archs)
    assert {path: path.read_bytes() for path in place(config).iterdir()} == before
    (place(config) / RECORD_FILE).write_text("{}")
    save_arch(path=retrained(config), **vars(file))
    assert "export.json:1: missing 'weights'" in refused(capsys, "export", config, *archs)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--archs", "a.yaml"], "export.format: arch files need"),
        (["--archs", "a.yaml", "--format", "portfolio"], "export.format: arch files need"),
        (["--archs", "a.yaml", "--format", "onnx"], "a.yaml: cannot be read"),
        (["--format", "tflite"], "export.format"),
    ],
)
def test_what_cannot_be_exported_is_one_line(whole, capsys, monkeypatch, options, words):
    monkeypatch.setattr(formats, "find_spec", lambda name: name)
    assert words in refused(capsys, "export", whole / "toy.yaml", *options)


@pytest.mark.parametrize("command", ["export", "run"])
def test_a_package_that_is_missing_is_told_before_anything_starts(
    tmp_path, capsys, monkeypatch, command
):
    (tmp_path / "toy.yaml").write_text(CONFIG + f"run: {tmp_path / 'run'}\n")
    monkeypatch.setattr(formats, "find_spec", lambda name: None)
    error = refused(capsys, command, tmp_path / "toy.yaml", "--export.format", "onnx")
    assert "export.format: onnx needs onnx, onnxscript, onnxruntime, not installed" in error
    assert left(tmp_path) == ["toy.yaml"]


def test_figures_that_are_none_do_not_break_a_card(config):
    file = load_arch_file(retrained(config))
    metrics = {"retrained": {"top1": "high"}, "images_per_second": 7, "test_images": [1]}
    save_arch(path=retrained(config), **{**vars(file), "metrics": metrics})
    argv = ["export", str(config), "--archs", str(retrained(config)), "--format", "safetensors"]
    assert main(argv) == 0
    assert ModelCard.load(place(config) / CARD).data.eval_results is None
