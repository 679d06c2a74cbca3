"""Budgets in milliseconds of dense tasks, on a made-up device whose time is the network's MACs."""

import re
from itertools import combinations

import pytest
import torch
from dense_runs import DEPTH, SEGMENTATION, open_run, said, write_config
from dense_toys import dense_supernet
from latency_toys import table_of

from search import Front
from search.latency import measure as measuring
from search.latency.costs import make_problem
from search.latency.measure import make_conditions, make_forward_passes
from search.latency.table import LatencyTable
from search.latency.terms import count_terms
from search.pipeline import profile
from search.pipeline.evaluate import SPEED
from search.report.latency_data import collect_latency_data
from search.report.search_result import SearchResult
from space import InputError, SearchSpace, load_arch_file, macs
from space.utils.yaml_file import read_yaml, write_yaml
from supernet import extract
from supernet.backbones.vit import count_macs
from supernet.tasks.registry import directions, task_class

TASKS = [DEPTH, SEGMENTATION]
NAMES = [task["name"] for task in TASKS]
MS = 1e-6  # milliseconds of a MAC
# Few terms, so that few archs are measured.
SPACE = {
    "pool": {"kinds": ["avg2d"], "grids": [[2, 3]], "max_pools": 1},
    "share": {"max_run": 1},
    "skip": {"ratios": [0.5], "selectors": ["map"], "max_run": 2},
}


def needs_head(task):
    if task["head"]["name"] == "dpt":
        pytest.importorskip("segmentation_models_pytorch")


@pytest.fixture
def made_up_device(monkeypatch):
    """A device whose time is the MACs of a subnet, head included; gives the rounds it has timed."""
    rounds = []

    def turns(runs, number, wait, warm_up, seed):
        rounds.append(seed)
        subnets = {name: run.args[0] for name, run in runs.items()}
        return {name: [1e-3 * MS * macs(net.arch, net.shape)] for name, net in subnets.items()}

    monkeypatch.setattr(measuring, "time_interleaved", turns)
    monkeypatch.setattr(profile, "HELD_OUT", 8)
    return rounds


@pytest.mark.usefixtures("made_up_device")
@pytest.mark.parametrize("task", TASKS, ids=NAMES)
def test_a_table_holds_the_head(task, tmp_path, capsys):
    needs_head(task)
    path = write_config(tmp_path, task, space=SPACE)
    # Of the data nothing is needed.
    (tmp_path / "data").rename(tmp_path / "elsewhere")
    said(capsys, "profile", path, "--rounds", "2")
    table = LatencyTable.load(tmp_path / "run" / "latency" / "cpu.yaml")
    space = open_run(path).space
    assert table.shape == space.shape
    full, head = space.largest(), space.shape.head.macs
    assert head > 0.05 * macs(full, space.shape)
    assert table.full_ms == pytest.approx(MS * macs(full, space.shape), rel=1e-5)
    assert table.predict(full) == pytest.approx(table.full_ms, rel=1e-3)
    terms = count_terms(full, space.shape)
    assert terms["rest", 24, 24] == 1
    assert table.predict(full) == sum(count * table.terms[term] for term, count in terms.items())
    assert table.error.mean < 0.02
    assert not table.error.large
    shown = said(capsys, "profile", path, "--rounds", "2")
    assert "measured already" in shown


@pytest.mark.parametrize("section", ["depth", "depth_log", "depth_dpt", "segmentation"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_what_is_timed_is_the_subnet_with_its_head(section, dtype):
    if section == "depth_dpt":
        pytest.importorskip("segmentation_models_pytorch")
    net, device = dense_supernet(section).eval(), torch.device("cpu")
    archs = [net.space.graph.path(rank) for rank in range(0, net.space.size(), 4001)]
    runs = make_forward_passes(net, archs, make_conditions(device, 2, dtype, False), device)
    for arch in archs:
        run = runs[net.space.identity(arch)]
        assert count_macs(run) == 2 * macs(arch, net.shape)
        _, images = run.args
        with torch.inference_mode():
            expected = extract(net, arch).to(images.dtype).eval()(images)
        assert expected.shape[0] == 2
        assert expected.shape[2] in (16, 32)
        torch.testing.assert_close(run(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS, ids=NAMES)
def test_compiled_heads_give_the_same_maps(task):
    needs_head(task)
    net, device = dense_supernet(task).eval(), torch.device("cpu")
    arch = net.space.smallest()
    runs = make_forward_passes(net, [arch], make_conditions(device, 2, None, True), device)
    (run,) = runs.values()
    _, images = run.args
    with torch.inference_mode():
        expected = extract(net, arch).eval()(images)
    torch.testing.assert_close(run(), expected, rtol=1e-4, atol=1e-4)


def test_rounds_of_another_head_are_none_of_this_one(made_up_device, tmp_path, monkeypatch, capsys):
    path = write_config(tmp_path, DEPTH, space=SPACE)
    timed = measuring.time_interleaved

    def interrupted(*args, **kwargs):
        if len(made_up_device) == 2:
            made_up_device.append("stop")
            raise KeyboardInterrupt
        return timed(*args, **kwargs)

    monkeypatch.setattr(measuring, "time_interleaved", interrupted)
    command = ["profile", path, "--rounds", "3"]
    said(capsys, *command, code=130)
    said(capsys, *command, "--task.output", "log")
    assert made_up_device == [0, 1, "stop", 0, 1, 2]
    shown = said(capsys, *command, code=2)
    assert "cpu.yaml: holds another profile (" in shown


def spaces():
    """Spaces of the same blocks with other heads, and one of another size of images."""
    pytest.importorskip("segmentation_models_pytorch")
    sizes = {"wide": {"img_size": (16, 32)}}
    names = {"depth": "depth", "dpt": "depth_dpt", "labels": "segmentation", "timm": None}
    names["wide"] = "depth"
    for name, section in names.items():
        net = dense_supernet(section, SPACE, **sizes.get(name, {}))
        rules = task_class("depth").rules
        yield name, SearchSpace.from_dict(SPACE, net.shape, rules)


def test_tables_of_other_heads_and_sizes_are_refused():
    found = dict(spaces())
    tables = {name: table_of(space, name) for name, space in found.items()}
    for name, space in found.items():
        make_problem(space, ["rmse=min"], "latency_ms=90%", directions(), [tables[name]])
    for pair in combinations(found, 2):
        for name, other in (pair, pair[::-1]):
            with pytest.raises(InputError) as caught:
                make_problem(
                    found[name], ["rmse=min"], "latency_ms=90%", directions(), [tables[other]]
                )
            (line,) = str(caught.value).splitlines()
            part = "backbone: grid" if "wide" in pair else "head: [0-9,]+ MACs and [0-9,]+ param"
            assert re.match(f"latency table {other}: of another {part}", line)
            assert line.endswith("; measure this one: tokennas profile CONFIG")


def test_a_report_shows_no_table_of_another_head():
    found = dict(spaces())
    problem = make_problem(found["depth"], ["rmse=min"], None, directions(), [])
    search = SearchResult("main", Front.of(problem, []))
    assert collect_latency_data(table_of(found["depth"]), search) is not None
    assert collect_latency_data(table_of(found["dpt"]), search) is None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "metric", "percent"), [(DEPTH, "rmse", 75), (SEGMENTATION, "miou", 95)], ids=NAMES
)
@pytest.mark.usefixtures("made_up_device")
def test_a_search_and_retraining_within_milliseconds(task, metric, percent, tmp_path, capsys):
    needs_head(task)
    limit = f"latency_ms={percent}%"
    search = {"objectives": [metric, "latency_ms"], "budget": limit, "trials": 12}
    retrain = {"epochs": 1, "budgets": [limit], "baselines": True}
    path = write_config(tmp_path, task, space=SPACE, search=search, retrain=retrain)
    shown = said(capsys, "run", path, code=2)
    assert "search: latency_ms needs a latency table, and there is none in" in shown
    said(capsys, "profile", path, "--rounds", "2")
    shown = said(capsys, "run", path)
    assert "The device's speed has changed" not in shown
    run = tmp_path / "run"
    table = LatencyTable.load(run / "latency" / "cpu.yaml")
    front = Front.load(run / "search" / "main" / "front.yaml")
    assert [each.name for each in front.objectives] == [metric, "latency_ms"]
    assert front.full["latency_ms"] == pytest.approx(table.full_ms, rel=1e-3)
    assert front.entries
    for entry in front.entries:
        predicted, measured = (entry.metrics[k] for k in ("latency_ms", "measured_latency_ms"))
        assert predicted == pytest.approx(table.predict(entry.arch), rel=1e-4)
        assert predicted <= percent / 100 * table.full_ms * (1 + 1e-6)
        assert measured == pytest.approx(MS * macs(entry.arch, front.shape), rel=1e-5)
    assert "measured_latency_ms" in shown
    names = {path.parent.name for path in (run / "retrain" / "main").rglob("arch.yaml")}
    assert {"full", f"latency_ms_{percent}"} <= names
    for name in names:
        file = load_arch_file(run / "retrain" / "main" / name / "arch.yaml")
        assert file.metrics[SPEED]["value"] > 0
        latency = file.metrics["latency_ms"]
        assert latency["measured"]
        assert latency["value"] == pytest.approx(MS * macs(file.arch, file.shape), abs=1e-4)
        if name != "full":
            assert latency["value"] <= percent / 100 * table.full_ms * 1.001
    assert (run / "report" / "main" / "latency-cpu.png").exists()
    # The same run with another head has no table any more.
    values = read_yaml(path).data
    values["task"]["head"] = {"name": "linear", "blocks": [3]}
    values["run"] = str(tmp_path / "other")
    values["search"]["latency"] = [str(run / "latency" / "cpu.yaml")]
    write_yaml(tmp_path / "other.yaml", values)
    shown = said(capsys, "run", tmp_path / "other.yaml", code=2)
    assert "latency table cpu: of another head" in shown
    assert not (tmp_path / "other" / "supernet").exists()
