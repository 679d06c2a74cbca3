"""Runs on pairs of images and maps: what is told before training, and what goes on."""

import pickle
import shutil

import numpy as np
import pytest
from dense_toys import write_pairs
from PIL import Image

from search.cli.main import main
from search.cli.parse import parse_call
from search.pipeline.context import RunContext
from search.pipeline.run_evaluator import CarriedEvaluator, RunEvaluator
from space.utils.yaml_file import write_yaml

VALUES = {
    "backbone": {
        "model": "vit_tiny_patch16_224",
        "args": {
            "img_size": [16, 24],
            "patch_size": 4,
            "embed_dim": 16,
            "depth": 3,
            "num_heads": 2,
        },
    },
    "task": {"name": "segmentation", "classes": 5, "head": {"blocks": [0, 2]}},
    "space": {"skip": {"ratios": [0.5], "selectors": ["cls"]}},
    "supernet": {"epochs": 1, "random_archs": 1},
    "search": {"trials": 3},
    "retrain": {"budgets": ["95%"]},
}


@pytest.fixture
def config(tmp_path):
    """A run that segments 24 images, written with changed values."""
    data = write_pairs(tmp_path / "toy")
    del data["scale"]

    def write(run="run", task=None, **dataset):
        values = {
            **VALUES,
            "task": task or VALUES["task"],
            "run": str(tmp_path / run),
            "data": {
                "dataset": {**data, "targets": "label/*.png", **dataset},
                "batch": 4,
                "eval_batch": 3,
                "workers": 0,
            },
        }
        path = tmp_path / "toy.yaml"
        write_yaml(path, values)
        return path

    return write


def refused(capsys, *words):
    capsys.readouterr()
    assert main([str(word) for word in words]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error.removeprefix("tokennas: ").strip()


def test_a_run_with_a_remap_goes_on_and_one_with_another_is_refused(config, capsys):
    path = config()
    option = ("--data.dataset.remap", "{3: 255, 4: 3}")
    assert main(["train", str(path), *option]) == 0
    assert main(["train", str(path)]) == 0
    assert main(["search", str(path)]) == 0
    assert "options of earlier commands in" in capsys.readouterr().out
    message = refused(capsys, "search", path, "--data.dataset.remap", "{3: 255}")
    assert "data.dataset.remap.4 was 3, is None" in message


def test_a_run_of_other_data_is_named_with_the_remedy(config, tmp_path, capsys):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/search_split.json").write_text('{"indices": [0, 1]}')
    for command in ("train", "run"):
        assert refused(capsys, command, config()) == (
            f"{tmp_path}/run: the stored search split is of other data: it has a part of a scene "
            "that is trained on; give the data of that run, or begin another run with --run"
        )


@pytest.mark.parametrize("change", ["renamed", "added", "removed"])
def test_a_run_whose_files_have_changed_is_refused(config, tmp_path, capsys, change):
    path = config()
    assert main(["train", str(path)]) == 0
    names = tmp_path / "toy/train.txt"
    first, *rest = names.read_text().split()
    # Before the others, or in place of the first, such that indices are of other images.
    new = {"renamed": ["00_999"], "added": ["00_999", first], "removed": []}[change]
    names.write_text("\n".join(new + rest))
    for folder in ("rgb", "label"):
        for name in {*new} - {first}:
            files = tmp_path / "toy" / folder
            shutil.copy(files / f"{first}.png", files / f"{name}.png")
    for command in ("search", "train", "run"):
        assert refused(capsys, command, path).startswith(
            f"{tmp_path}/run: files or labels were added to the training images, removed or renamed"
        )


def test_a_search_whose_maps_have_changed_is_refused(config, tmp_path, capsys):
    path = config()
    for command in ("train", "search"):
        assert main([command, str(path)]) == 0
    run = RunContext(parse_call(["search", str(path)]).config, path)
    searched = {run.data.search.dataset.source.targets.name(i) for i in run.folder.split()}
    trained = sorted({str(each) for each in tmp_path.glob("toy/label/0[0-5]*")} - searched)
    stored = tmp_path / "run/search/main/search.yaml"
    text = stored.read_text()
    stored.write_text("".join(x for x in text.splitlines(True) if "  maps:" not in x))
    assert stored.read_text() != text
    assert main(["search", str(path), "--search.trials", "4"]) == 0  # one of an earlier version
    for label, name in ((3, trained[0]), (2, min(searched))):
        with Image.open(name) as image:
            pixels = np.asarray(image).copy()
        pixels[:9, :9] = label
        Image.fromarray(pixels).save(name)
        if label == 3:
            # One that is trained on alone, so that what was measured stays comparable.
            assert main(["search", str(path), "--search.trials", "5"]) == 0
    capsys.readouterr()
    assert main(["search", str(path), "--search.trials", "7"]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"tokennas: {tmp_path}/run/search/main: the maps of the search split are not those that "
        "the results there were measured on; give these, or search under another name "
        "(--search.name)"
    )
    assert main(["search", str(path), "--search.name", "again"]) == 0


def test_a_training_that_was_cut_off_goes_on_with_its_remap(config):
    path = config(remap={"3": 255, "4": 3})
    assert main(["train", str(path)]) == 0
    weights = path.parent / "run/supernet/supernet.safetensors"
    first = weights.read_bytes()
    weights.unlink()
    # The checkpoint is of this task.
    assert main(["train", str(path)]) == 0
    assert weights.read_bytes() == first


@pytest.mark.parametrize("command", ["train", "run"])
def test_a_wrong_map_is_told_before_training(config, tmp_path, capsys, command):
    path = tmp_path / "toy/label/06_025.png"
    Image.fromarray(np.full((32, 48), 9, np.uint8)).save(path)
    error = refused(capsys, command, config())
    assert error.startswith(f"1 of 32 images cannot be used: {path}: has the label 9, beyond the 5")
    assert not (tmp_path / "run" / "supernet").exists()


def test_a_mask_whose_foreground_is_ignored_is_told_before_training(config, tmp_path, capsys):
    files = sorted((tmp_path / "toy/label").iterdir())
    for path in files:
        with Image.open(path) as image:
            mask = np.where(np.asarray(image) > 1, 255, 0)
        mask[0] = 0
        Image.fromarray(mask.astype(np.uint8)).save(path)
    task = {"name": "segmentation", "classes": 2, "head": {"blocks": [0, 2]}}
    for _ in range(2):  # again, where all files have been opened before
        assert main(["train", str(config(task=task))]) == 2
        error = capsys.readouterr().err.splitlines()[-1]
        path, _, message = error.removeprefix("tokennas: ").partition(" and ")
        assert path in map(str, files)
        assert message == (
            "19 other training maps: have pixels of class 0 alone, and ignored ones of label 255; "
            "if that is a class too, set data.dataset.remap: {255: 1}"
        )
    assert not (tmp_path / "run" / "supernet").exists()
    assert main(["train", str(config(task=task, remap={"255": 1}))]) == 0


def test_keys_of_other_data_are_told_in_one_line(config, capsys):
    labels = "is for data sets whose targets are labels, not for pairs"
    for values, message in (
        ({"args": {"download": True}}, f"data.dataset.args: {labels}"),
        ({"train_split": "training"}, f"data.dataset.train_split: {labels}"),
        ({"name": "folder"}, "data.dataset.targets: is for pairs and nyu, not for folder"),
        ({"scale": 0.5}, "data.dataset.scale: 0.5 is not for the task segmentation"),
    ):
        assert refused(capsys, "inspect", config(**values)) == message
    assert refused(capsys, "inspect", config(), "--data.augment.mixup=0.5") == (
        "data.augment.mixup: 0.5 is for classification, not for segmentation"
    )
    assert refused(capsys, "inspect", config(), "--backbone.args.img_size", "[16, 25]").endswith(
        "its sides must be multiples of the patch of 4 x 4, such as [16, 24]"
    )


@pytest.mark.parametrize("task", ["segmentation", "depth"])
def test_a_carried_evaluator_measures_maps_of_several_sizes(config, tmp_path, task):
    for i in range(24):
        for folder in ("rgb", "label", "depth"):
            path = tmp_path / f"toy/{folder}/{i // 4:02d}_{i:03d}.png"
            with Image.open(path) as image:
                image.resize((48, 32 + i % 2), Image.Resampling.NEAREST).save(path)
    depth = {"targets": "depth/*.png", "scale": 0.001, "task": {"name": "depth"}}
    path = config(**depth if task == "depth" else {}, scenes="(.)$")
    assert main(["train", str(path), "--data.search_share", "0.4"]) == 0
    made = RunEvaluator(RunContext(parse_call(["search", str(path)]).config, path))
    here, carried = made(), pickle.loads(pickle.dumps(made))
    assert isinstance(carried, CarriedEvaluator)
    assert len({targets.shape[1:] for _, targets in carried.batches}) == 2
    shutil.rmtree(tmp_path / "run")
    shutil.rmtree(tmp_path / "toy")
    there, rng = carried(), np.random.default_rng(0)
    archs = [here.supernet.space.sample(rng) for _ in range(4)]
    assert len({*archs}) > 1
    for arch in archs:
        assert there(arch) == here(arch)
        assert np.isfinite([*here(arch).values()]).all()
