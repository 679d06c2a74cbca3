import json

import pytest
import timm
import torch
from safetensors.torch import load_file
from stages_config import CONFIG

from search.cli.main import main
from search.cli.parse import parse_call
from search.pipeline.check import check
from search.pipeline.context import RunContext
from space import InputError


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "toy.yaml"
    path.write_text(CONFIG)
    return path


def test_training_leaves_weights_a_log_a_split_and_the_resolved_config(config, tmp_path):
    assert main(["train", str(config)]) == 0
    run = tmp_path / "runs" / "toy"
    assert "blocks.0.norm1.weight" in load_file(run / "supernet" / "supernet.safetensors")
    rows = (run / "supernet" / "log.jsonl").read_text().splitlines()
    assert [json.loads(row)["epoch"] for row in rows] == [0]
    assert len(json.loads((run / "search_split.json").read_text())["indices"]) == 35
    assert "optimizer: adamw" in (run / "config.yaml").read_text()


def test_the_same_command_does_not_train_again(config, tmp_path):
    main(["train", str(config)])
    weights = tmp_path / "runs" / "toy" / "supernet" / "supernet.safetensors"
    before = weights.stat().st_mtime_ns
    assert main(["train", str(config), "--data.eval_batch", "7"]) == 0
    assert weights.stat().st_mtime_ns == before


def test_training_that_diverges_is_told_in_a_line_and_leaves_no_weights(config, tmp_path, capsys):
    for stage in ("train", "run"):
        assert main([stage, str(config), "--supernet.lr", "1e30"]) == 2
        (line,) = [
            line for line in capsys.readouterr().err.splitlines() if line.startswith("tokennas: ")
        ]
        assert line.startswith("tokennas: supernet: training diverged in epoch 1, step ")
        assert "try a lower supernet.lr (it is 1e+30)" in line
    assert not (tmp_path / "runs" / "toy" / "supernet" / "supernet.safetensors").exists()
    assert main(["train", str(config), "--supernet.lr", "1e-3"]) == 2
    assert "supernet.lr was 1e+30, is 0.001" in capsys.readouterr().err
    assert main(["train", str(config), "--supernet.lr", "1e-3", "--run", "runs/other"]) == 0


def test_a_changed_value_is_refused_showing_old_and_new(config, tmp_path, capsys):
    main(["train", str(config)])
    before = (tmp_path / "runs" / "toy" / "config.yaml").read_bytes()
    capsys.readouterr()
    assert main(["train", str(config), "--supernet.lr", "0.5"]) == 2
    error = capsys.readouterr().err
    assert "supernet.lr was 0.001, is 0.5" in error
    assert error.count("\n") == 1
    assert (tmp_path / "runs" / "toy" / "config.yaml").read_bytes() == before
    assert main(["train", str(config), "--supernet.lr", "0.5", "--run", "runs/other"]) == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--data.batch", "500"], "data.batch: 500 is more than the"),
        (["--seed=-1"], "seed: must be an integer of 0 to 2^64 - 1, got -1"),
        (["--device", "cuda:7"], "device: 'cuda:7' is not available"),
        (["--backbone.model", "resnet18"], "resnet18"),
        (["--data.dataset.name", "folder"], "dataset.root: missing"),
        (["--data.augment.mixup", "0.8", "--data.batch", "15"], "even batch, got 15"),
        (["--supernet.teacher.model", "vit_tiny_patch16_224"], "supernet.teacher"),
        (["--space", "{pool: {kinds: [avg2d], grids: [9]}}"], "space.pool.grids[0]"),
        (["--search.objectives", "[miuo=max, macs]"], "'miuo' is no metric of the task"),
        (["--search.objectives", "[top11, macs]"], "did you mean 'top1'"),
        (["--search.budget", "mac=50%"], "did you mean 'macs'"),
        (["--search.sampler", "NSGASampler"], "did you mean 'NSGAIISampler'"),
    ],
)
def test_what_is_wrong_is_one_line_before_anything_is_written(
    config, tmp_path, capsys, options, words
):
    assert main(["train", str(config), *options]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert not (tmp_path / "runs" / "toy" / "supernet" / "supernet.safetensors").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--search.budget", "macs=5%"], "no arch is that cheap; the space reaches from"),
        (["--search.budget", "mac=50%"], "'mac'"),
        (["--search.sampler", "NSGASampler"], "did you mean 'NSGAIISampler'"),
        (["--search.sampler_args", "{population: 9}"], "unknown argument 'population'"),
        (["--search.objectives", "[top1, mac]"], "'mac'"),
        (["--search.objectives", "[miou=max, macs]"], "'miou' is no metric of the task"),
        (["--search.reuse", "[other]"], "search.reuse: there is no search 'other' in "),
        (["--search.trials", "0"], "search.trials: must be at least 1, got 0"),
        (["--search.workers=-1"], "search.workers: must be an integer of at least 0, got -1"),
        (["--search.storage", "postgres://a/b"], "search.storage: must be the URL of one of"),
        (["--search.storage", "mysql+nobody://a:secret@b/c"], "storage mysql+nobody://a@b/c: "),
        (["--retrain.budgets", "[70%, 5%]"], "retrain.budgets[1]: budget macs="),
        (
            ["--search.objectives", "[macs, params]"],
            "retrain.budgets[0]: no objective of the search (macs, params) is a metric",
        ),
        (["--retrain.budgets", "[much]"], "must be a number such as"),
        (["--retrain.budgets", "[parms=60%]"], "no cost 'parms'; did you mean 'params'?"),
        (["--retrain.budgets", "[latency=60%]"], "no cost 'latency'; limit it in search.budget"),
        (
            ["--retrain.budgets", "[macs=45%..70%]"],
            "retrain.budgets[0]: must be one amount, such as macs=70%, got macs=45%..70%",
        ),
        (
            ["--search.budget", "macs=75%..95%", "--retrain.budgets", "[90%, 70%]"],
            "retrain.budgets[1]: budget macs=",
        ),
    ],
)
def test_a_run_refuses_what_its_later_stages_would_before_it_trains(config, capsys, options, words):
    assert main(["run", str(config), *options]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert not (config.parent / "runs").exists()


def test_an_empty_front_is_told_in_a_line_and_nothing_is_exported(config, capsys):
    main(["train", str(config)])
    options = [str(config), "--search.trials", "8", "--search.budget", "top1=0.99"]
    words = ("keeps top1>=0.99; trial ", "comes nearest: top1=")
    for command in ("search", "search", "export"):
        capsys.readouterr()
        assert main([command, *options]) == 2
        error = capsys.readouterr().err
        assert error.startswith("tokennas: search main: the front is empty after 8 evaluations, ")
        assert all(each in error for each in (*words, "--search.name", "--search.trials"))
        assert error.count("\n") == 1
    run = config.parent / "runs" / "toy"
    archs = ["--archs", str(run / "search" / "main"), "--format", "safetensors"]
    assert main(["export", str(config), *archs]) == 2
    assert "front.yaml: the front is empty: " in capsys.readouterr().err
    assert not (run / "export").exists()


def test_a_new_head_is_announced(config, tmp_path, capsys):
    args = {"img_size": 16, "patch_size": 4, "embed_dim": 16, "depth": 3, "num_heads": 2}
    for classes in (10, 4):
        path = tmp_path / f"{classes}.pth"
        model = timm.create_model("vit_tiny_patch16_224", num_classes=classes, **args)
        torch.save(model.state_dict(), path)
        options = ["--run", str(classes), "--backbone.checkpoint", str(path)]
        assert main(["train", str(config), *options]) == 0
        lines = capsys.readouterr().out.splitlines()
        line = "new head: the backbone's weights have none for the task classification"
        assert (line in lines) is (classes == 4)


@pytest.fixture
def teacher(tmp_path):
    """Options of a teacher of another width, from a checkpoint of the data's ten classes."""
    args = {"img_size": 16, "patch_size": 4, "embed_dim": 24, "depth": 2, "num_heads": 2}
    model = timm.create_model("vit_tiny_patch16_224", num_classes=10, **args)
    torch.save(model.state_dict(), tmp_path / "teacher.pth")
    return {
        "model": "vit_tiny_patch16_224",
        "args": json.dumps(args),
        "checkpoint": str(tmp_path / "teacher.pth"),
    }


def given(teacher):
    return [f"--supernet.teacher.{key}={value}" for key, value in teacher.items()]


def test_a_teacher_teaches(config, tmp_path, teacher):
    assert main(["train", str(config), "--run", "alone"]) == 0
    assert main(["train", str(config), "--run", "taught", *given(teacher)]) == 0
    alone, taught = (
        load_file(tmp_path / run / "supernet" / "supernet.safetensors")
        for run in ("alone", "taught")
    )
    assert any(not torch.equal(alone[name], taught[name]) for name in alone)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"args": '{"img_size": 32, "patch_size": 4, "embed_dim": 24, "depth": 2}'}, "(32, 32)"),
        ({"model": "deit_tiny_patch16_224"}, "set data.input.mean, if one value suits both"),
        ({"checkpoint": "nowhere.pth"}, "nowhere.pth does not exist"),
    ],
)
def test_a_teacher_that_sees_other_images_is_refused_before_anything_is_written(
    config, capsys, teacher, wrong, words
):
    assert main(["train", str(config), *given(teacher | wrong)]) == 2
    assert words in capsys.readouterr().err
    assert not (config.parent / "runs").exists()


def test_a_grey_backbone_has_a_grey_teacher_and_none_of_colours(config, capsys, teacher):
    grey = "--backbone.args.in_chans=1"
    assert main(["inspect", str(config), grey]) == 0
    assert main(["train", str(config), grey, *given(teacher)]) == 2
    assert "in_chans 3, the backbone 1; set in_chans in its args" in capsys.readouterr().err
    args = json.loads(teacher["args"]) | {"in_chans": 1}
    model = timm.create_model("vit_tiny_patch16_224", num_classes=10, **args)
    torch.save(model.state_dict(), config.parent / "grey.pth")
    of_grey = {"args": json.dumps(args), "checkpoint": str(config.parent / "grey.pth")}
    assert main(["train", str(config), grey, *given(teacher | of_grey)]) == 0


def test_whoever_gives_the_mean_of_the_data_vouches_for_the_teacher(config, teacher):
    look = ["--data.input.mean=[0.1, 0.1, 0.1]", "--data.input.std=[0.3, 0.3, 0.3]"]
    other = teacher | {"model": "deit_tiny_patch16_224"}
    assert main(["train", str(config), *given(other), *look]) == 0


def test_inspect_shows_backbone_space_and_time(config, capsys):
    assert main(["inspect", str(config)]) == 0
    shown = capsys.readouterr().out
    for words in ("query and key", "distinct archs", "MACs from", "85 train, 35 search, 40 test"):
        assert words in shown
    assert "1 epochs take about" in shown
    assert "rules" not in shown
    assert main(["inspect", str(config), "--space.rules.keep_2d=true"]) == 0
    assert "distinct archs, by the rules keep_2d" in capsys.readouterr().out
    assert main(["inspect", str(config), "--space.rules.keep_grid=true"]) == 2
    assert "space.pool: no choice of it keeps the rules of the space" in capsys.readouterr().err


def test_inspect_says_which_models_are_served_and_why_not(capsys):
    assert main(["inspect", "--model", "deit_tiny_patch16_224"]) == 0
    assert "1,253,683,200" in capsys.readouterr().out
    smaller = ["--backbone.args", "{img_size: 32, patch_size: 4}"]
    assert main(["inspect", "--model", "deit_tiny_patch16_224", *smaller]) == 0
    assert " 65 " in capsys.readouterr().out
    assert main(["inspect", "--model", "eva02_tiny_patch14_224"]) == 2
    assert "rotary embeddings" in capsys.readouterr().err
    assert main(["inspect"]) == 2
    assert "a config, or --model NAME" in capsys.readouterr().err


def test_interrupting_gives_the_shells_exit_code(config, monkeypatch, capsys):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("search.pipeline.train.train", interrupted)
    assert main(["train", str(config)]) == 130
    assert "goes on from here" in capsys.readouterr().err


def test_a_budget_given_twice_is_no_clash_of_names(config, tmp_path):
    call = parse_call(["run", str(config), "--retrain.budgets", "[70%, 70%]"])
    check(RunContext(call.config, call.file))
    assert not (tmp_path / "runs" / "toy" / "supernet").exists()
    clash = parse_call(["run", str(config), "--retrain.budgets", "[70%, macs=70%, 'macs= 70%']"])
    with pytest.raises(InputError, match="two networks would share the folder macs_70"):
        check(RunContext(clash.config, clash.file))
