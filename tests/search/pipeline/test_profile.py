"""`tokennas profile`, and a search within the milliseconds of its table; no timing is asserted."""

from pathlib import Path

import pytest
import torch
from stages_config import CONFIG

from search import Front
from search.cli.main import main
from search.latency import measure as measuring
from search.latency.measure import device_name, make_conditions, make_forward_passes
from search.latency.table import LatencyTable
from search.pipeline.named_archs import file_stem
from space import SearchSpace, load_arch_file
from space.utils.yaml_file import read_yaml, write_yaml
from supernet import Supernet, backbone_shape, extract
from supernet.backbones.vit import create_backbone

SPACE = """
space:
  pool: {kinds: [avg2d], grids: [2], max_pools: 1}
  share: {max_run: 2}
  skip: {ratios: [0.5, 0.25], selectors: [map, cls]}
"""
CONFIG = CONFIG[: CONFIG.index("space:")] + SPACE.lstrip() + CONFIG[CONFIG.index("supernet:") :]
ARGS = {"img_size": 16, "patch_size": 4, "embed_dim": 16, "depth": 3, "num_heads": 2}


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "toy.yaml"
    path.write_text(CONFIG)
    return str(path)


def small_supernet():
    backbone = create_backbone("vit_tiny_patch16_224", ARGS)
    values = {"share": {"max_run": 2}, "skip": {"ratios": [0.5], "selectors": ["map", "random"]}}
    return Supernet(backbone, SearchSpace.from_dict(values, backbone_shape(backbone))).eval()


def test_a_profile_leaves_a_table_that_a_search_keeps(config, tmp_path, capsys):
    assert main(["search", config, "--search.budget", "latency_ms=90%"]) == 2
    assert main(["train", config]) == 0
    # Networks this small are timed too coarsely for a budget that some would not keep.
    budget = ["--search.budget", "latency_ms=1000", "--search.trials", "6"]
    assert main(["search", config, *budget]) == 2
    assert "there is none in runs/toy/latency; measure one with" in capsys.readouterr().err
    resolved = tmp_path / "runs" / "toy" / "config.yaml"
    before = resolved.read_bytes()
    for refused in ("macs=1%", "mac=50%", "macs=0"):
        assert main(["search", config, "--search.budget", refused]) == 2
    assert main(["retrain", config, "--retrain.budgets", "1%"]) == 2
    # What was refused is not the run's config, and leaves no search behind.
    assert resolved.read_bytes() == before
    assert not (tmp_path / "runs" / "toy" / "search").exists()
    capsys.readouterr()
    assert main(["profile", config, "--rounds", "3", "--batch", "2"]) == 0
    path = tmp_path / "runs" / "toy" / "latency" / "cpu.yaml"
    table = LatencyTable.load(path)
    assert table.conditions.like(make_conditions(torch.device("cpu"), 2, None, compiled=False))
    assert table.conditions.device == device_name(torch.device("cpu"))
    assert not (path.parent / "cpu.rounds.jsonl").exists()
    out = capsys.readouterr().out
    assert f"{table.error.archs} held-out archs: mean error" in out
    assert f"full network {table.full_ms:.3f} ms" in out
    assert main(["search", config, *budget]) == 0
    assert "budget: latency_ms=1000" in resolved.read_text()
    front = Front.load(tmp_path / "runs" / "toy" / "search" / "main" / "front.yaml")
    for entry in front.entries:
        assert entry.metrics["latency_ms"] == pytest.approx(table.predict(entry.arch), rel=1e-4)
        assert entry.metrics["measured_latency_ms"] > 0
    out = capsys.readouterr().out
    assert "measured_latency_ms" in out
    # What was measured is not measured again, and what is over budget by measurement is marked.
    low = {e.identity: e.metrics["measured_latency_ms"] for e in front.entries}
    assert main(["search", config, *budget]) == 0
    again = Front.load(tmp_path / "runs" / "toy" / "search" / "main" / "front.yaml")
    assert {e.identity: e.metrics["measured_latency_ms"] for e in again.entries} == low
    # Arch files and model cards say it with the conditions.
    assert main(["export", config, "--format", "safetensors"]) == 0
    for entry in again.entries:
        stem = file_stem(entry)
        said = load_arch_file(tmp_path / "runs/toy/export/main" / f"{stem}.yaml").metrics
        assert said["latency_ms"] == {
            "value": round(entry.metrics["measured_latency_ms"], 4),
            "measured": True,
            "device": table.conditions.device,
            "batch": 2,
            "dtype": "float32",
            "compiled": False,
        }
        card = (tmp_path / "runs/toy/export/main" / stem / "README.md").read_text()
        row = f"| ms a batch of 2 | {said['latency_ms']['value']} | measured, "
        assert row in card


@pytest.mark.slow
def test_retrained_networks_are_timed_once_and_shown_over_milliseconds(config, capsys):
    assert main(["train", config]) == 0
    assert main(["profile", config, "--rounds", "2", "--batch", "2"]) == 0
    budget = ["--search.budget", "latency_ms=1000", "--search.trials", "6"]
    assert main(["search", config, *budget]) == 0
    retrain = ["retrain", config, "--retrain.budgets", "[latency_ms=1000]"]
    said = []
    for _ in range(2):
        capsys.readouterr()
        assert main(retrain) == 0
        out = capsys.readouterr().out
        assert "latency_ms" in out
        files = sorted(Path("runs/toy/retrain/main").rglob("arch.yaml"))
        said.append([load_arch_file(path).metrics["latency_ms"] for path in files])
    assert len(files) == 2
    assert said[0] == said[1]
    # A damaged table is no reason to retrain nothing.
    table = Path("runs/toy/latency/cpu.yaml")
    stored = table.read_text()
    table.write_text("full_ms: -1\n")
    assert main(retrain) == 0
    assert "retrained networks are not timed: " in (out := capsys.readouterr().out)
    table.write_text(stored)
    assert all(each["measured"] and each["value"] > 0 for each in said[0])
    assert "networks timed" not in out
    assert main(["report", config]) == 0
    assert "latency_ms: of a batch, measured on" in capsys.readouterr().out
    assert Path("runs/toy/report/main/front-latency_ms.png").exists()


def test_a_front_point_over_its_budget_is_marked(config, tmp_path, capsys):
    main(["train", config])
    main(["profile", config, "--rounds", "2"])
    path = tmp_path / "runs" / "toy" / "latency" / "cpu.yaml"
    table = LatencyTable.load(path)
    # A device that is said to be a thousand times as fast as it is.
    quick = {term: ms / 1e3 for term, ms in table.terms.items()}
    path.unlink()
    type(table)(**{**vars(table), "terms": quick}).save(path)
    capsys.readouterr()
    budget = ["--search.budget", "latency_ms=0.1", "--search.trials", "3"]
    assert main(["search", config, *budget]) == 0
    assert "latency_ms is over by" in capsys.readouterr().out


@pytest.mark.slow
def test_a_profile_overwrites_nothing_and_goes_on(config, tmp_path, monkeypatch, capsys):
    taken = []
    turns = measuring.time_interleaved

    def interrupted(*args, **kwargs):
        if len(taken) == 2:
            taken.append("stop")
            raise KeyboardInterrupt
        taken.append(kwargs["seed"])
        return turns(*args, **kwargs)

    monkeypatch.setattr(measuring, "time_interleaved", interrupted)
    command = ["profile", config, "--rounds", "4", "--name", "mine"]
    assert main(command) == 130
    assert main(command) == 0
    assert taken == [0, 1, "stop", 2, 3]
    path = tmp_path / "runs" / "toy" / "latency" / "mine.yaml"
    # RoundLog of another backbone are none of this one's.
    taken.clear()
    command = ["profile", config, "--rounds", "4", "--out", "other.yaml"]
    assert main(command) == 130
    wider = ["--backbone.args.embed_dim", "32"]
    assert main([*command, *wider]) == 0
    assert taken == [0, 1, "stop", 0, 1, 2, 3]
    command = ["profile", config, "--rounds", "4", "--name", "mine"]
    before = path.read_bytes()
    capsys.readouterr()
    assert main(command) == 0
    assert "measured already; delete" in capsys.readouterr().out
    assert main([*command, "--batch", "3"]) == 2
    error = capsys.readouterr().err
    assert "mine.yaml: holds another profile (" in error
    assert "batch 1, float32, eager); delete it, or give another --name for" in error
    assert main(["profile", config, "--out", str(tmp_path)]) == 2
    assert f"{tmp_path}: cannot be read" in capsys.readouterr().err
    assert path.read_bytes() == before
    values = read_yaml(path).data
    del values["error"]
    write_yaml(path, values)
    assert main(command) == 2
    assert "mine.yaml: lacks the `error` of its" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--batch", "0"], "batch: must be at least 1, got 0"),
        (["--dtype", "float8"], "dtype must be one of float32, bfloat16, float16, got 'float8'"),
        (["--name", "a/b"], "--name: must be letters, digits, - and _ alone"),
        (["--rounds", "1"], "--rounds: must be at least 2, got 1"),
        (["--device", "meta"], "device: 'meta' cannot be timed"),
        (["--device", "cuda:9"], "device: 'cuda:9' is not available"),
        (["--space", "{skip: {blocks: [1], ratios: [0.5]}}"], "archs are too few to estimate"),
    ],
)
def test_what_cannot_be_profiled_is_told_in_a_line(config, tmp_path, capsys, options, words):
    assert main(["profile", config, *options]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert not list(tmp_path.glob("runs/toy/latency/*.yaml"))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_what_is_timed_is_the_subnet(dtype):
    net = small_supernet()
    archs = [net.space.graph.path(rank) for rank in range(0, net.space.size(), 7)]
    device = torch.device("cpu")
    conditions = make_conditions(device, 3, dtype, compiled=False)
    torch.manual_seed(0)
    runs = make_forward_passes(net, archs, conditions, device)
    torch.manual_seed(0)
    images = torch.randn(3, 3, 16, 16, dtype=getattr(torch, dtype))
    for arch in archs:
        subnet = extract(net, arch).to(images.dtype)
        torch.testing.assert_close(
            runs[net.space.identity(arch)](), subnet(images), rtol=1e-5, atol=1e-5
        )
    assert next(net.parameters()).dtype == torch.float32


def test_subnets_may_share_weights():
    net = small_supernet()
    own = {parameter.data_ptr() for parameter in net.parameters()}
    for rank in range(0, net.space.size(), 11):
        arch = net.space.graph.path(rank)
        shared, copied = extract(net, arch, share=True), extract(net, arch)
        images = torch.randn(2, 3, 16, 16)
        assert torch.equal(shared(images), copied(images))
        taken = {parameter.data_ptr() for parameter in shared.parameters()}
        # Of blocks that share maps the value rows are cut out; nothing else is copied.
        cut = sum(2 * block.shared for block in shared.arch.blocks)
        assert len(taken - own) == cut
        assert not {parameter.data_ptr() for parameter in copied.parameters()} & own


@pytest.mark.slow
def test_what_is_compiled_is_the_subnet():
    net = small_supernet()
    archs = [net.space.largest(), *(net.space.graph.path(rank) for rank in (1, 20, 40))]
    for kind in ["cpu", *["cuda"] * torch.cuda.is_available()]:
        conditions = make_conditions(torch.device(kind), 3, "float32", compiled=True)
        torch.manual_seed(0)
        runs = make_forward_passes(net.to(kind), archs, conditions, torch.device(kind))
        torch.manual_seed(0)
        images = torch.randn(3, 3, 16, 16, device=kind)
        for arch in archs:
            with torch.inference_mode():
                expected = extract(net, arch)(images)
                found = runs[net.space.identity(arch)]()
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
