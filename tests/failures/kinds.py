"""Every kind of file that the tool reads: how the real code makes one, and what reads it."""

import contextlib
import copy
import json
import shutil
from functools import cache
from pathlib import Path

import numpy as np
import torch
from fuzzing import Kind
from latency_toys import table_of
from report_runs import digits_space, make_run, write_retrained
from rich.console import Console
from search_toys import Evaluate, middle_space, problem_of, toy_space
from training_toys import random_loader, toy_backbone, toy_supernet, toy_task

from search.cli.parse import parse_call
from search.front.front import Front
from search.latency.costs import make_problem
from search.latency.table import LatencyTable
from search.pipeline.config import Config
from search.pipeline.context import SUPERNET_SECTIONS
from search.pipeline.named_archs import file_stem
from search.pipeline.run_folder import RunFolder
from search.pipeline.search import show_front
from search.problem.budget import parse_budget
from search.problem.feasible import FeasibleArchs
from search.problem.objectives import parse_objectives
from search.report.latency_data import collect_latency_data
from search.report.networks import pick_from_front, read_retrained
from search.report.plot_latency import draw_latency
from search.report.search_result import read_search
from search.report.training_log import collect_curves, read_log
from search.run import run_search
from search.study.samplers import parse_sampler
from search.study.search import Search
from search.study.session import Progress
from search.study.status import format_status, read_status, write_status
from search.study.storage import Store
from search.study.study import Counts
from search.study.trial_format import read_records
from space import InputError, SearchSpace, load_arch_file
from space.utils.yaml_file import read_yaml
from supernet.backbones.load import load_checkpoint_file
from supernet.data.splits import DataConfig, split_indices
from supernet.tasks.registry import directions
from supernet.training.log import TrainingLog
from supernet.training.train_supernet import SupernetRecipe, train_supernet
from supernet.weights import load_weights, save_weights

CONFIGS = Path(__file__).parents[2] / "configs"
SPACES = (toy_space(), middle_space())
RECIPE = SupernetRecipe(epochs=1, random_archs=1, ema=0.9, watch=0)
TARGETS = np.arange(100) % 10
OPTIONS = (
    {"--search.trials": "5", "--search.budget": "macs=60%", "--data": "{batch: 5}"},
    {"--seed": "3", "--retrain.budgets": "[60%, 40%]", "--space": "{share: {max_run: 2}}"},
)


def make_examples(folder: Path) -> list[Path]:
    """Two runs with a file of every kind, by the code that writes them."""
    return [_example(folder / str(i), space, i) for i, space in enumerate(SPACES)]


def _example(run, space, i):
    make_run(run, space, trials=10, random=False, hand_made=False)
    write_retrained(run, "main", "one", space.sample(np.random.default_rng(i)), space)
    open_search = {"budget": "macs=90%", "trials": 6, "sampler": "RandomSampler"}
    run_search(space=space, evaluate=Evaluate(space), folder=run / "journal", **open_search)
    (run / "journal" / "front.yaml").unlink(missing_ok=True)
    shutil.copy(sorted(CONFIGS.glob("*.yaml"))[i - 1], run / "mine.yaml")
    (run / "options.json").write_text(json.dumps(OPTIONS[i]))
    RunFolder(_config(run), None).store_split(list(range(i, 100, 10)), f"{i:016x}")
    RunFolder(_config(run), None).claim("stored", SUPERNET_SECTIONS)
    progress = Progress(3, 10, i, Counts(), 1.5, "top1", None, ended="stopped" if i else None)
    write_status(run, progress)
    _train(run / "training")
    (run / "latency").mkdir()
    table_of(space).save(run / LATENCY)
    backbone = toy_backbone()
    save_weights(backbone, run / "subnet.safetensors")
    torch.save({"state_dict": backbone.state_dict()}, run / "backbone.pth")
    return run


def example_of(kind: Kind, run: Path, folder: Path) -> Path:
    """A run with nothing in it but what a kind's reader looks at."""
    for name in (kind.file, *BESIDE.get(kind.name, ())):
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(run / name, target)
    return folder


def _config(run):
    return Config(run=str(run))


def _train(folder):
    supernet = copy.deepcopy(_toys()[0])
    loader, task = random_loader(1, 4), toy_task()
    return train_supernet(supernet, loader, task=task, recipe=RECIPE, folder=folder, quiet=True)


@cache
def _toys():
    return toy_supernet(), toy_backbone()


def _read_arch(run):
    load_arch_file(run / ARCH)
    read_retrained(run, "main")


def _read_config(run):
    path = run / "mine.yaml"
    config = parse_call(["run", str(path)]).config
    _in_file(path, _use, config)


def _read_options(run):
    try:
        given = json.loads((run / "options.json").read_text())
    except (ValueError, RecursionError):
        return
    pairs = given.items() if isinstance(given, dict) else ()
    arguments = [f"{name}={value}".replace("\0", "") for name, value in pairs]
    with contextlib.suppress(SystemExit):  # --help
        parse_call(["retrain", str(CONFIGS / "quickstart.yaml"), *arguments])


def _use(config):
    """What is looked at before anything runs, for a backbone that is there."""
    space = SearchSpace.from_dict(config.space, digits_space().shape)
    wanted = config.search
    parse_sampler({"name": wanted.sampler, **wanted.sampler_args})
    objectives = parse_objectives(wanted.objectives)
    parse_budget(wanted.budget, space, objectives)
    for text in config.retrain.budgets:
        parse_budget(f"macs={text}", space)


def _in_file(path, use, *args):
    """An error of what does not know the file, with its name."""
    try:
        use(*args)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _read_front(run):
    path = run / FRONT
    front = Front.load(path)
    _in_file(path, _show, run, front)


def _show(run, front):
    show_front(front, Console(quiet=True))
    front.best(macs="50%")
    pick_from_front(run, "main", front)
    target = run / "export"
    for entry in front.entries:
        assert (target / f"{file_stem(entry)}.yaml").parent == target


def _read_latency(run):
    path = run / LATENCY
    table = LatencyTable.load(path)
    space = next((space for space in SPACES if space.shape == table.shape), SPACES[0])
    _in_file(path, _judge, table, space)


def _judge(table, space):
    problem = make_problem(space, ["top1", "latency_ms"], "latency_ms=90%", directions(), [table])
    FeasibleArchs(space, problem.budget).check(np.random.default_rng(0))
    draw_latency(collect_latency_data(table))


def _read_search(run):
    read_search(run / "journal")


def _resume(run):
    folder, sampler = run / "journal", parse_sampler("RandomSampler")
    stored = read_yaml(folder / "search.yaml").data
    depth, origin = stored["shape"]["depth"], stored.get("origin")
    space = next(space for space in SPACES if space.shape.depth == depth)
    problem = problem_of(space, budget="macs=90%")
    # What evaluates is no part of this: it is what it was.
    origin = origin if isinstance(origin, dict) else {}
    store = Store(folder, Search(problem, sampler, folder=folder, origin=origin))
    try:
        _in_file(folder / "journal.log", read_records, store.trials, problem)
    finally:
        store.close()


def _read_status(run):
    Console(quiet=True).print(format_status(read_status(run)), markup=False)


def _read_split(run):
    held = RunFolder(_config(run), None).split()
    _in_file(run / "search_split.json", split_indices, TARGETS, DataConfig(), 0, held)


def _read_log(run):
    folder = run / "supernet"
    try:
        rows = read_log(folder / "log.jsonl")
        for group in ("loss", "top1", "recall"):
            collect_curves(rows, group)
    finally:
        TrainingLog(folder, "supernet", quiet=True).drop_rows(5)


def _read_stored(run):
    RunFolder(_config(run), None).check("stored", SUPERNET_SECTIONS)


def _read_checkpoint(run):
    _train(run / "training")


def _read_weights(run):
    load_weights(copy.deepcopy(_toys()[1]), run / "subnet.safetensors")


def _read_safetensors(run):
    load_checkpoint_file(copy.deepcopy(_toys()[1]), run / "subnet.safetensors")


def _read_pickled(run):
    load_checkpoint_file(copy.deepcopy(_toys()[1]), run / "backbone.pth")


ARCH = "retrain/main/one/arch.yaml"
FRONT = "search/main/front.yaml"
LATENCY = "latency/toy.yaml"
KINDS = {
    kind.name: kind
    for kind in (
        Kind("arch", ARCH, "yaml", _read_arch, 16),
        Kind("latency", LATENCY, "yaml", _read_latency, 4),
        Kind("config", "mine.yaml", "yaml", _read_config, 8),
        Kind("options", "options.json", "json", _read_options, 2, named=False),
        Kind("front", FRONT, "yaml", _read_front, 10),
        Kind("search", "journal/search.yaml", "yaml", _read_search, 12),
        Kind("journal", "journal/journal.log", "lines", _read_search, 11),
        Kind("resumed", "journal/journal.log", "lines", _resume, 6),
        Kind("status", "status.json", "json", _read_status, 9),
        Kind("split", "search_split.json", "json", _read_split, 6),
        Kind("log", "supernet/log.jsonl", "lines", _read_log, 5),
        Kind("stored", "stored/config.yaml", "yaml", _read_stored, 3),
        Kind("checkpoint", "training/checkpoint.pt", "signed", _read_checkpoint, 2),
        Kind("weights", "subnet.safetensors", "safetensors", _read_weights, 2),
        Kind("backbone", "subnet.safetensors", "safetensors", _read_safetensors, 2),
        Kind("pickled", "backbone.pth", "torch", _read_pickled, 2),
    )
}
BESIDE = {
    "arch": ("retrain/main/one/log.jsonl",),
    "search": ("journal/journal.log",),
    "journal": ("journal/search.yaml",),
    "resumed": ("journal/search.yaml",),
    "checkpoint": ("training/log.jsonl",),
}
assert sum(kind.share for kind in KINDS.values()) == 100
