"""Every config that ships is read, says what it is, and runs from end to end at toy size."""

import pickle
import re
from hashlib import md5
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from dense_toys import write_pairs
from nyu_toys import write_nyu
from PIL import Image
from torchvision.datasets import CIFAR10

from search.cli.main import main
from search.cli.parse import parse_call
from search.front.front import Front
from search.study.samplers import parse_sampler

FOLDER = Path(__file__).parents[2] / "configs"
CONFIGS = sorted(FOLDER.glob("*.yaml"))
SMALL = {
    "supernet.epochs": 2,
    "supernet.full_epochs": 1,
    "supernet.warmup_epochs": 0,
    "search.trials": 6,
    "retrain.epochs": 1,
    "retrain.warmup_epochs": 0,
    "data.workers": 0,
    "data.batch": 8,
    "data.search_share": 0.25,
}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_config_is_read_and_says_what_it_is(path):
    config = parse_call(["run", str(path)]).config
    assert config.search.budget
    comments = [line for line in path.read_text().splitlines() if line.startswith("#")]
    for word in ("Command:", "Data:", "Source:", "Expect:"):
        assert any(line.startswith(f"# {word}") for line in comments), word
    (command,) = (line for line in comments if "Command:" in line)
    assert f"tokennas run configs/{path.name}" in command


def run(path, folder, **options):
    """Run a config with toy values; its front and the rows of its retrained subnets."""
    words = [f"--{key}={value}" for key, value in (SMALL | options).items()]
    assert main(["run", str(path), "--run", str(folder), *words]) == 0
    front = Front.load(folder / "search" / "main" / "front.yaml")
    assert front.evaluations == 6
    assert (folder / "report" / "main" / "report.html").exists()
    return front


def image(rng, size):
    return Image.fromarray(rng.integers(0, 256, (size, size, 3), dtype=np.uint8))


@pytest.mark.slow
def test_imagenet_at_toy_size_from_a_checkpoint_of_its_1000_classes(tmp_path):
    rng = np.random.default_rng(0)
    for split, count in (("train", 16), ("val", 4)):
        for wnid in ("n01440764", "n01443537"):
            folder = tmp_path / "imagenet" / split / wnid
            folder.mkdir(parents=True)
            for i in range(count):
                image(rng, 96).save(folder / f"{wnid}_{i}.JPEG")
    args = {"embed_dim": 16, "num_heads": 2}
    torch.save(
        timm.create_model("deit_small_patch16_224", **args).state_dict(), tmp_path / "deit.pth"
    )
    front = run(
        FOLDER / "deit_small_imagenet.yaml",
        tmp_path / "run",
        **{
            "data.dataset.root": tmp_path / "imagenet",
            "backbone.pretrained": "false",
            "backbone.checkpoint": tmp_path / "deit.pth",
            "backbone.args": "{embed_dim: 16, num_heads: 2, drop_path_rate: 0.1}",
            "supernet.accumulate": 1,
            "retrain.accumulate": 1,
        },
    )
    assert (front.shape.depth, front.shape.grid) == (12, (14, 14))


@pytest.mark.slow
def test_cifar10_at_toy_size_from_torchvisions_folder(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    folder = tmp_path / CIFAR10.base_folder
    folder.mkdir()

    def dump(name, content):
        data = pickle.dumps(content)
        (folder / name).write_bytes(data)
        return [name, md5(data).hexdigest()]

    def batch(count):
        pixels = rng.integers(0, 256, (count, 3 * 32 * 32), dtype=np.uint8)
        return {"data": pixels, "labels": [i % 10 for i in range(count)]}

    train = [dump(f"data_batch_{i}", batch(20)) for i in range(1, 6)]
    monkeypatch.setattr(CIFAR10, "train_list", train)
    monkeypatch.setattr(CIFAR10, "test_list", [dump("test_batch", batch(20))])
    names = [f"class {i}" for i in range(10)]
    name, digest = dump("batches.meta", {"label_names": names})
    monkeypatch.setattr(CIFAR10, "meta", {"filename": name, "key": "label_names", "md5": digest})
    front = run(
        FOLDER / "cifar10.yaml",
        tmp_path / "run",
        **{
            "data.dataset.root": tmp_path,
            "backbone.args.embed_dim": 24,
            "retrain.baselines": "false",
        },
    )
    assert front.shape.grid == (8, 8)


def dinov2(folder):
    """Overrides for a small DINOv2 from a checkpoint of its own image size, 518 pixels."""
    args = {"embed_dim": 16, "num_heads": 2}
    model = timm.create_model("vit_small_patch14_dinov2", **args)
    torch.save(model.state_dict(), folder / "dinov2.pth")
    return {
        "backbone.checkpoint": folder / "dinov2.pth",
        "backbone.args.embed_dim": 16,
        "backbone.args.num_heads": 2,
    }


def check_dense(front, folder, metrics, budgets):
    """The networks of the budgets are retrained, and the report shows their predictions."""
    assert all(
        entry.metrics.keys() >= {*metrics, "macs", "backbone_macs"} for entry in front.entries
    )
    networks = {path.parent.name for path in (folder / "retrain" / "main").glob("*/arch.yaml")}
    assert networks >= {"full", "baseline_alternate_skip_backbone_macs_70"}
    # One arch may be the best within several budgets, after a search as short as this.
    assert networks & {f"backbone_macs_{share}" for share in budgets}
    assert (folder / "report" / "main" / "predictions.png").exists()


DEPTH_METRICS = ("rmse", "abs_rel", "delta1", "silog")


@pytest.mark.slow
def test_nyu_at_toy_size_from_a_mat_file(tmp_path):
    # Images as large as NYU's, since the evaluation's crop is of such.
    dataset, _, _ = write_nyu(tmp_path, count=24, train=16, size=(480, 640))
    front = run(
        FOLDER / "nyu_depth.yaml",
        tmp_path / "run",
        **{
            **dinov2(tmp_path),
            "data.dataset.root": dataset["root"],
            "backbone.pretrained": "false",
            "backbone.args.img_size": "[112, 140]",
            "space.pool.grids": "[[6, 7], [4, 5]]",
        },
    )
    assert front.shape.grid == (8, 10)
    check_dense(front, tmp_path / "run", DEPTH_METRICS, (85, 70, 50))


@pytest.mark.slow
@pytest.mark.parametrize("task", ["depth", "segmentation"])
def test_nyu_on_a_cpu_at_toy_size_from_pairs(tmp_path, task):
    dataset = write_pairs(tmp_path / "nyu", size=(63, 84))
    for path in (tmp_path / "nyu" / "rgb").iterdir():
        Image.open(path).save(path.with_suffix(".webp"), lossless=True)
        path.unlink()
    for path in (tmp_path / "nyu" / "depth").iterdir():
        depth = np.asarray(Image.open(path)) / 1000  # metres; 8 bits hold 10 of them
        Image.fromarray((25.5 * depth).astype(np.uint8)).save(path)
    (tmp_path / "nyu" / "label").rename(tmp_path / "nyu" / "label40")
    front = run(
        FOLDER / f"nyu_{task}_cpu.yaml",
        tmp_path / "run",
        **{
            **dinov2(tmp_path),
            "data.dataset.root": dataset["root"],
            # Six evaluations of the range would have no arch within the last budget.
            "search.budget": "backbone_macs=85%",
        },
    )
    assert front.shape.grid == (9, 12)
    if task == "depth":
        check_dense(front, tmp_path / "run", DEPTH_METRICS, (85, 70, 50))
    else:
        check_dense(front, tmp_path / "run", ("miou", "pixel_accuracy"), (70,))


def test_the_readmes_config_is_read(tmp_path):
    readme = (CONFIGS[0].parents[1] / "README.md").read_text()
    path = tmp_path / "mine.yaml"
    configs = []
    for text in re.findall(r"```yaml\n(.*?)```", readme, flags=re.DOTALL):
        path.write_text(text)
        configs.append(parse_call(["run", str(path)]).config)
    config, rooms = configs
    assert rooms.task_name == "depth"
    assert rooms.search.objectives == ["rmse", "macs"]
    assert config.data.dataset.name == "folder"
    assert config.retrain.budgets == ["70%", "50%"]
    parse_sampler(config.search.sampler)
