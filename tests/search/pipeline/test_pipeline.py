"""One toy run through every stage, looked at from all sides."""

import json
import re
import subprocess
import sys

import pytest
import timm
import torch
from huggingface_hub import ModelCard
from safetensors.torch import load_file

from search import Portfolio
from search.cli.main import main
from search.cli.parse import parse_call
from search.front.front import Front
from search.pipeline.config import Config
from search.pipeline.context import RunContext
from search.pipeline.run_evaluator import RunEvaluator
from space import Arch, load_arch_file, macs
from supernet import create_subnet, extract
from supernet.evaluation import HeldOut

CONFIG = """
backbone:
  model: vit_tiny_patch16_224
  args: {img_size: 16, patch_size: 4, embed_dim: 16, depth: 4, num_heads: 2}
data: {batch: 16, workers: 0, train_limit: 150, test_limit: 60, search_share: 0.3}
space:
  pool: {kinds: [avg2d, conv2d], grids: [3, 2], max_pools: 1}
  share: {max_run: 1}
  skip: {ratios: [0.5], selectors: [map, cls]}
supernet: {epochs: 1, random_archs: 1}
search: {trials: 16, budget: macs=80%, objectives: [cross_entropy, macs], sampler_args: {population_size: 6}}
export: {format: [safetensors, portfolio]}
retrain: {epochs: 1, budgets: [70%, 45%], baselines: true, random: true}
"""  # noqa: E501


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pipeline")
    file = folder / "toy.yaml"
    file.write_text(CONFIG + f"run: {folder / 'run'}\n")
    assert main(["run", str(file)]) == 0
    return file, folder / "run"


@pytest.fixture
def config(run) -> Config:
    return parse_call(["run", str(run[0])]).config


def test_the_front_keeps_the_budget_and_its_figures_are_those_of_the_supernet(run, config):
    front = Front.load(run[1] / "search" / "main" / "front.yaml")
    assert front.evaluations == 16
    assert len(front) >= 2
    evaluate = RunEvaluator(RunContext(config, run[0]))()
    for entry in front.entries:
        assert entry.metrics["macs"] == macs(entry.arch, front.shape) <= 0.8 * front.full["macs"]
        found = evaluate(entry.arch)
        assert found["cross_entropy"] == entry.metrics["cross_entropy"] == entry.values[0]
    assert evaluate(Arch.full(4))["kl"] == pytest.approx(0, abs=1e-7)


def test_every_point_of_the_front_is_exported_with_its_weights(run, config):
    front = Front.load(run[1] / "search" / "main" / "front.yaml")
    folder = run[1] / "export" / "main"
    files = sorted(folder.glob("*_*.yaml"))
    assert {load_arch_file(path).arch for path in files} == {each.arch for each in front.entries}
    supernet = RunContext(config, run[0]).load_trained().supernet
    images = torch.randn(3, 3, 16, 16)
    portfolio = Portfolio.load(folder / "portfolio")
    for path, served in zip(files, sorted(portfolio, key=costs), strict=True):
        place = folder / path.stem
        assert load_arch_file(place / "arch.yaml") == load_arch_file(path)
        subnet = create_subnet(place / "arch.yaml", place / "model.safetensors").eval()
        named = timm.create_model(f"local-dir:{place}", pretrained=True).eval()
        wanted = supernet(images, load_arch_file(path).arch)
        assert torch.equal(subnet(images), wanted)
        assert torch.equal(named(images), wanted)
        assert torch.equal(served(images), wanted)
    card = ModelCard.load(folder / "portfolio" / "README.md")
    assert "trained on `digits` as a supernet, starting from random weights" in card.text
    assert sum(line.startswith("| ") for line in card.text.splitlines()) == len(front) + 1
    assert list(portfolio.classes) == load_arch_file(files[0]).classes
    assert Front.load(folder / "front.yaml").rows() == front.rows()


def costs(served):
    return served.entry.metrics["macs"]


def test_an_exported_subnet_runs_in_a_fresh_process(run, config, tmp_path):
    path = sorted((run[1] / "export" / "main").glob("*_*/arch.yaml"))[0]
    supernet = RunContext(config, run[0]).load_trained().supernet
    images = torch.linspace(-1, 1, 3 * 16 * 16).view(1, 3, 16, 16)
    script = (
        "import sys, torch\n"
        "from supernet import create_subnet\n"
        "torch.set_num_threads(1)\n"
        "subnet = create_subnet(sys.argv[1], sys.argv[2]).eval()\n"
        "print(subnet(torch.linspace(-1, 1, 3 * 16 * 16).view(1, 3, 16, 16)).tolist())\n"
    )
    command = [sys.executable, "-c", script, str(path), str(path.with_name("model.safetensors"))]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    wanted = supernet(images, load_arch_file(path).arch)
    torch.testing.assert_close(torch.tensor(json.loads(printed)), wanted, rtol=1e-5, atol=1e-6)


def choices(run):
    """Folders of retrained networks by what their arch files call them."""
    places = (run[1] / "retrain" / "main").iterdir()
    return {load_arch_file(path / "arch.yaml").origin["choice"]: path for path in places}


def test_the_full_network_the_best_of_each_budget_and_hand_made_archs_are_retrained(run):
    found = choices(run)
    assert {"full", "70%", "45%"} <= set(found)
    assert any(name.startswith("baseline ") for name in found)
    for budget, limit in (("70", 0.7), ("45", 0.45)):
        drawn = Front.load(run[1] / "search" / "main" / f"random_{budget}" / "front.yaml")
        assert drawn.evaluations == 16
        best = drawn.best(macs=limit * drawn.full["macs"]).arch
        assert best in {load_arch_file(path / "arch.yaml").arch for path in found.values()}
    full = macs(load_arch_file(found["full"] / "arch.yaml").arch, shape(run))
    for name, path in found.items():
        file = load_arch_file(path / "arch.yaml")
        share = macs(file.arch, file.shape) / full
        limit = 1 if name == "full" else 0.7 if "70%" in name else 0.45
        assert share <= limit
        assert path.name == name.replace(" ", "_").replace("%", "")


def shape(run):
    return load_arch_file(choices(run)["full"] / "arch.yaml").shape


def test_reported_figures_are_those_of_the_test_split(run, config):
    setup = RunContext(config, run[0]).load_trained()
    test = HeldOut(setup.data.test, setup.task, setup.device)
    for path in choices(run).values():
        file = load_arch_file(path / "arch.yaml")
        subnet = create_subnet(path / "arch.yaml", path / "subnet.safetensors").eval()
        assert test.measure(subnet) == file.metrics["retrained"]
        inherited = extract(setup.supernet, file.arch).eval()
        assert test.measure(inherited) == file.metrics["inherited"]
        assert file.metrics["images_per_second"]["value"] > 0


def test_the_same_command_does_nothing_again(run, capsys):
    stamps = {
        path: path.stat().st_mtime_ns
        for path in run[1].rglob("*")
        if (path.suffix in (".safetensors", ".pt") or path.name == "arch.yaml")
        and "export" not in path.parts
    }
    before = load_file(run[1] / "supernet" / "supernet.safetensors")
    assert main(["run", str(run[0])]) == 0
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items())
    after = load_file(run[1] / "supernet" / "supernet.safetensors")
    assert all(torch.equal(before[name], after[name]) for name in before)
    shown = capsys.readouterr().out
    assert "retrained: top-1 on the test split" in " ".join(shown.split())


def test_another_budget_needs_a_name_and_reuses_evaluations(run, capsys):
    capsys.readouterr()
    assert main(["search", str(run[0]), "--search.budget", "macs=60%"]) == 2
    assert "budget" in capsys.readouterr().err
    options = ["--search.budget", "macs=60%", "--search.name", "small", "--search.reuse", "[main]"]
    assert main(["search", str(run[0]), *options]) == 0
    front = Front.load(run[1] / "search" / "small" / "front.yaml")
    assert all(each.metrics["macs"] <= 0.6 * front.full["macs"] for each in front.entries)


@pytest.mark.slow
def test_a_search_that_goes_on_retrains_its_new_best_and_keeps_the_old_one(run, capsys):
    """The stale network would else stand there as the best within the budget."""
    options = ["--search.name", "grown", "--retrain.budgets", "70%", "--retrain.full", "false"]
    options += ["--retrain.baselines", "false"]
    place = run[1] / "retrain" / "grown" / "70"
    archs = []
    for trials in ("4", "24"):
        assert main(["search", str(run[0]), *options, "--search.trials", trials]) == 0
        assert main(["retrain", str(run[0]), *options]) == 0
        front = Front.load(run[1] / "search" / "grown" / "front.yaml")
        archs.append(load_arch_file(place / "arch.yaml").arch)
        assert archs[-1] == front.best(macs="70%").arch
    assert archs[0] != archs[1]
    (earlier,) = (place / "earlier").iterdir()
    assert load_arch_file(earlier / "arch.yaml").arch == archs[0]
    assert "no longer the best" in capsys.readouterr().out


def test_a_run_refuses_another_recipe_of_retraining_before_it_searches(run, capsys):
    capsys.readouterr()
    journal = (run[1] / "search" / "main" / "journal.log").read_bytes()
    assert main(["run", str(run[0]), "--search.trials", "30", "--retrain.epochs", "2"]) == 2
    assert "retrain.epochs was 1, is 2" in capsys.readouterr().err
    assert (run[1] / "search" / "main" / "journal.log").read_bytes() == journal


def test_the_progress_shows_the_best_of_the_first_objective(run, capsys):
    capsys.readouterr()
    assert main(["search", str(run[0]), "--search.name", "told", "--search.trials", "20"]) == 0
    told = re.findall(r"best cross_entropy ([\d.]+)", capsys.readouterr().out)
    best = Front.load(run[1] / "search" / "told" / "front.yaml").entries[0].values[0]
    assert len(told) > 3
    assert [float(each) for each in told] == sorted(map(float, told), reverse=True)
    assert float(told[-1]) == pytest.approx(best, rel=1e-3)


def test_the_status_of_a_search_is_shown(run, capsys):
    capsys.readouterr()
    assert main(["status", str(run[0])]) == 0
    shown = capsys.readouterr().out
    assert "16 of 16 evaluations (100%)" in shown
    assert "best cross_entropy: " in shown
    assert main(["status", str(run[0]), "--search.name", "none"]) == 2
    assert "no search has begun" in capsys.readouterr().err


@pytest.mark.slow
def test_speeds_of_all_come_from_one_measurement(run, config):
    """Whichever lacks its own, all are measured anew, beside each other."""
    paths = {name: path / "arch.yaml" for name, path in choices(run).items()}
    before = {name: load_arch_file(path) for name, path in paths.items()}
    text = paths["45%"].read_text()
    cut = re.sub(r"\n  images_per_second:.*", "", text)
    assert cut != text
    paths["45%"].write_text(cut)
    assert main(["retrain", str(run[0])]) == 0
    after = {name: load_arch_file(path) for name, path in paths.items()}
    for name, file in after.items():
        old, new = dict(before[name].metrics), dict(file.metrics)
        assert old.pop("images_per_second") != new.pop("images_per_second")
        assert old == new
        assert (file.arch, file.origin) == (before[name].arch, before[name].origin)


def test_evaluate_gives_the_figures_of_any_arch_file(run, capsys):
    path = choices(run)["45%"] / "arch.yaml"
    exported = sorted((run[1] / "export" / "main").glob("*_*.yaml"))[0]
    capsys.readouterr()
    assert main(["evaluate", str(run[0]), "--archs", str(exported), str(path)]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in shown[-2:]] == [
        [exported.stem, "supernet"],
        ["45", "subnet.safetensors"],
    ]
    assert main(["evaluate", str(run[0])]) == 2
    assert "--archs" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["search"], "missing; run `tokennas train CONFIG` first"),
        # What is known to be wrong is told before what takes long.
        (["search", "--search.sampler", "tpe"], "sampler must be one of NSGAIISampler"),
        (["export"], "missing; run `tokennas search CONFIG` first"),
        (["export", "--search.name", "b"], "run `tokennas search CONFIG --search.name b` first"),
        (["retrain"], "missing; run `tokennas train CONFIG` first"),
    ],
)
def test_a_stage_that_comes_too_early_says_what_comes_first(tmp_path, capsys, argv, words):
    file = tmp_path / "toy.yaml"
    file.write_text(CONFIG + f"run: {tmp_path / 'run'}\n")
    assert main([argv[0], str(file), *argv[1:]]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--search.sampler", "CmaEsSampler", "CmaEs"),
        ("--search.sampler", "NSGAISampler", "did you mean"),
        ("--search.budget", "macs=1%", "macs"),
        ("--search.objectives", "[topone]", "topone"),
        ("--search.name", "../x", "search.name"),
    ],
)
def test_what_is_wrong_with_a_search_is_one_line(run, capsys, option, value, words):
    name = [] if option == "--search.name" else ["--search.name", "wrong"]
    capsys.readouterr()
    assert main(["search", str(run[0]), *name, option, value]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
