"""`amp` through the stages: decided for each command, kept by what has begun, noted with speeds."""

import shutil

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from search.cli.main import main
from search.cli.parse import parse_call
from search.pipeline import evaluate, retrain
from search.pipeline.evaluate import images_per_second
from search.pipeline.model_card import SUPERNET
from space import InputError, load_arch_file
from space.utils.yaml_file import read_yaml, write_yaml
from supernet.evaluation import HeldOut
from supernet.precision import decide_autocast
from supernet.training.checkpoint import load_checkpoint


def as_of_earlier_version(run):
    """Their default, stored by every command, was true, which was for GPUs alone."""
    for path in run.rglob("config.yaml"):
        data = read_yaml(path).data
        for section in {"supernet", "retrain"} & data.keys():
            data[section]["amp"] = True
        write_yaml(path, data)


def amp_of(run, *options):
    config = parse_call(["search", str(run), *options]).config
    return config.supernet.amp, config.retrain.amp


def test_a_run_of_an_earlier_version_goes_on(searched, run, capsys):
    as_of_earlier_version(run)
    assert amp_of(run) == ("auto", "auto")
    front = (run / "search" / "main" / "front.yaml").read_bytes()
    for config in ([str(run)], [str(searched), "--run", str(run)]):
        for command in ("train", "search"):
            assert main([command, *config]) == 0
        assert "--supernet.amp" not in capsys.readouterr().out
    assert (run / "search" / "main" / "front.yaml").read_bytes() == front
    shutil.rmtree(run / "search" / "main")
    assert main(["search", str(searched), "--run", str(run)]) == 0
    assert (run / "search" / "main" / "front.yaml").read_bytes() == front


def test_it_is_a_value_of_one_command(searched, run):
    assert main(["search", str(run), "--search.trials", "13", "--supernet.amp", "auto"]) == 0
    assert read_yaml(run / "config.yaml").data["supernet"]["amp"] == "auto"
    assert amp_of(run, "--supernet.amp", "true") == (True, "auto")
    assert amp_of(run) == ("auto", "auto")


def test_a_trained_supernet_stays_whatever_is_chosen_later(searched, tmp_path, capsys):
    file = tmp_path / "toy.yaml"
    file.write_text(f"{searched.read_text()}\nretrain: {{amp: false}}\n")
    command = ["train", str(file), "--run", str(tmp_path / "run")]
    assert main([*command, "--supernet.amp", "true"]) == 0
    assert "bfloat16 autocast: on (amp: true" in " ".join(capsys.readouterr().err.split())
    assert load_checkpoint(tmp_path / "run" / "supernet" / "checkpoint.pt").state["recipe"]["amp"]
    weights = tmp_path / "run" / "supernet" / "supernet.safetensors"
    before = weights.read_bytes()
    assert main([*command, "--supernet.amp", "false"]) == 0
    assert main(command) == 0
    assert weights.read_bytes() == before
    # What the file says is kept.
    assert amp_of(tmp_path / "run") == ("auto", False)


def test_retraining_and_its_speed_are_in_the_precision_that_is_chosen(searched, run, capsys):
    dtypes, weights = {}, {}
    log = {"auto": "off (auto: ", "false": "off (amp: false)", "true": "on (amp: true"}
    command = ["retrain", str(searched), "--run", str(run), "--retrain.budgets", "[]"]
    for amp, words in log.items():
        shutil.rmtree(run / "retrain", ignore_errors=True)
        assert main([*command, "--retrain.epochs", "1", "--retrain.amp", amp]) == 0
        assert f"bfloat16 autocast: {words}" in " ".join(capsys.readouterr().err.split())
        folder = run / "retrain" / "main" / "full"
        dtypes[amp] = load_arch_file(folder / "arch.yaml").metrics["images_per_second"]["dtype"]
        weights[amp] = load_file(folder / "subnet.safetensors")
    # These networks are narrow: `auto` is float32 on every CPU.
    assert dtypes == {"auto": "float32", "false": "float32", "true": "bfloat16"}
    equal = {
        amp: all(torch.equal(tensor, weights["false"][name]) for name, tensor in each.items())
        for amp, each in weights.items()
    }
    assert equal == {"auto": True, "false": True, "true": False}
    assert all(tensor.dtype == torch.float32 for tensor in weights["true"].values())


@pytest.mark.slow
def test_a_network_is_tested_in_the_precision_in_which_its_training_began(
    searched, run, monkeypatch
):
    command = ["retrain", str(searched), "--run", str(run), "--retrain.budgets", "[]"]
    command += ["--retrain.epochs", "1", "--retrain.amp"]

    def fails(*_):
        raise InputError("no space left")

    def figures():
        metrics = load_arch_file(run / "retrain" / "main" / "full" / "arch.yaml").metrics
        return {key: metrics[key] for key in ("inherited", "retrained", "standard_errors")}

    assert main([*command, "false"]) == 0
    in_float32 = figures()
    shutil.rmtree(run / "retrain")
    assert main([*command, "true"]) == 0
    in_bfloat16 = figures()
    shutil.rmtree(run / "retrain")
    with monkeypatch.context() as patch:
        patch.setattr(retrain, "save_weights", fails)
        assert main([*command, "true"]) != 0
    assert main([*command, "auto"]) == 0
    assert figures() == in_bfloat16
    assert all(in_float32[key] != in_bfloat16[key] for key in in_float32)


class Recording(nn.Module):
    """Notes the precision in which it is called."""

    in_chans = 3

    def __init__(self, dtype):
        super().__init__()
        self.patch_embed = nn.Module()
        self.patch_embed.img_size = (4, 4)
        self.layer = nn.Linear(4, 4, dtype=dtype)
        self.seen = set()

    def forward(self, images):
        self.seen.add(str(self.layer(images).dtype).removeprefix("torch."))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("amp", [True, False])
def test_the_precision_that_is_noted_is_that_of_the_timing(monkeypatch, amp, dtype):
    monkeypatch.setattr(evaluate, "SECONDS_PER_NETWORK", 1e-3)
    networks = [Recording(dtype), Recording(dtype)]
    figures = images_per_second(networks, amp)
    for network, figure in zip(networks, figures, strict=True):
        assert network.seen == {figure["dtype"]}


@pytest.mark.slow
def test_evaluations_of_arch_files_are_decided_by_the_supernets_value(
    searched, run, monkeypatch, capsys
):
    seen, measure = [], evaluate.images_per_second
    monkeypatch.setattr(
        evaluate, "images_per_second", lambda nets, amp: (seen.append(amp), measure(nets, amp))[1]
    )
    command = ["evaluate", str(searched), "--run", str(run), "--archs"]
    front = str(run / "search" / "main" / "front.yaml")
    for options in ([], ["--supernet.amp", "true"]):
        assert main([*command, front, *options]) == 0
    assert seen == [False, True]
    assert decide_autocast("auto", torch.device("cpu"), 16).on is False


@pytest.mark.parametrize(("source", "amp"), [(SUPERNET, True), ("arch.safetensors", False)])
def test_networks_are_evaluated_by_the_value_of_their_kind(searched, run, monkeypatch, source, amp):
    seen, load = [], evaluate.load_subnet
    monkeypatch.setattr(evaluate, "load_subnet", lambda *args: (load(*args)[0], source))
    monkeypatch.setattr(HeldOut, "with_amp", lambda self, amp: (seen.append(amp), self)[1])
    front = str(run / "search" / "main" / "front.yaml")
    command = ["evaluate", str(searched), "--run", str(run), "--archs", front]
    assert main([*command, "--supernet.amp", "true", "--retrain.amp", "false"]) == 0
    assert set(seen) == {amp}
