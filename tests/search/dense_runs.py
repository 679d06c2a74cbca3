"""Toy runs of depth and segmentation: their configs, on data made by code."""

import copy

from dense_toys import SPACE, write_pairs

from search.cli.main import main
from search.cli.parse import parse_call
from search.pipeline.context import RunContext
from space.utils.yaml_file import write_yaml

DEPTH = {"name": "depth", "max_depth": 10.0, "head": {"name": "linear", "blocks": [1, 3]}}
SEGMENTATION = {
    "name": "segmentation",
    "classes": 5,
    "head": {"name": "dpt", "channels": [4, 4, 8, 8], "fusion": 8},
}
VALUES = {
    "device": "cpu",
    "backbone": {
        "model": "vit_tiny_patch16_224",
        "args": {
            "img_size": [16, 24],
            "patch_size": 4,
            "embed_dim": 16,
            "depth": 4,
            "num_heads": 2,
        },
    },
    "space": SPACE,
    "supernet": {"epochs": 2, "lr": 2e-3, "random_archs": 1},
    "search": {"trials": 12, "budget": "backbone_macs=80%"},
    "retrain": {"epochs": 1, "budgets": ["backbone_macs=70%"], "baselines": True},
}


def write_config(folder, task, run="run", **sections):
    """A config of a task in a folder, on new data; `sections` replace some of its own."""
    dataset = write_pairs(folder / "data", train=32, test=8)
    if task["name"] == "segmentation":
        dataset = {key: value for key, value in dataset.items() if key != "scale"}
        dataset["targets"] = "label/*.png"
    data = {"dataset": dataset, "batch": 8, "eval_batch": 8, "workers": 0, "search_share": 0.3}
    values = {**copy.deepcopy(VALUES), "run": str(folder / run), "task": task, "data": data}
    path = folder / "toy.yaml"
    write_yaml(path, values | sections)
    return path


def open_run(path):
    return RunContext(parse_call(["train", str(path)]).config, path, quiet=True)


def said(capsys, *words, code=0):
    """What a command prints; it must end with the exit code."""
    assert main([str(word) for word in words]) == code
    captured = capsys.readouterr()
    return captured.out + captured.err
