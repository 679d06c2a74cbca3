"""One precision for all evaluations of a search: on workers, and after a restart elsewhere."""

import pickle

import pytest
import torch
from stages_config import CONFIG
from timm.models.vision_transformer import VisionTransformer

from search import SearchOptions, run_search
from search.cli.main import main
from search.cli.parse import parse_call
from search.evaluators.precision import decide_precision
from search.evaluators.supernet import SupernetEvaluator, loader_evaluator
from search.pipeline.context import RunContext
from search.pipeline.run_evaluator import RunEvaluator, search_precision
from search.study.search_file import SearchFile, read_origin
from search.study.storage import has_results
from space import InputError, SearchSpace
from supernet import Supernet, backbone_shape

CPU = torch.device("cpu")


@pytest.fixture
def machine(monkeypatch):
    """Sets whether CPUs are fast in bfloat16, for networks of any width."""

    def choose(fast):
        devices = frozenset({"cpu", "cuda"} if fast else {"cuda"})
        monkeypatch.setattr("supernet.precision.LEAST_WIDTH", 1)
        for module in ("supernet.precision", "search.pipeline.context"):
            monkeypatch.setattr(f"{module}.fast_devices", lambda: devices)

    return choose


@pytest.fixture(scope="module")
def supernet():
    torch.manual_seed(0)
    backbone = VisionTransformer(
        img_size=16, patch_size=4, embed_dim=16, depth=4, num_heads=2, num_classes=7
    )
    config = {"pool": {"kinds": ["avg2d"], "grids": [2]}, "skip": {"ratios": [0.5]}}
    return Supernet(backbone, SearchSpace.from_dict(config, backbone_shape(backbone)))


@pytest.fixture(scope="module")
def loader():
    rng = torch.Generator().manual_seed(1)
    return [(torch.randn(6, 3, 16, 16, generator=rng), torch.arange(6))]


CPUS, GPUS, BOTH = {"cpu"}, {"cuda"}, {"cpu", "cuda"}
# Origins: of earlier versions, which had autocast on GPUs alone, and of this one.
EARLIER, NONE = {"supernet": "a"}, {"supernet": "a", "autocast": []}
ON_GPUS, ON_BOTH = ({**EARLIER, "autocast": each} for each in (["cuda"], ["cpu", "cuda"]))


@pytest.mark.parametrize(
    ("amp", "fast", "stored", "autocast"),
    [
        ("auto", True, None, BOTH),
        ("auto", False, None, GPUS),
        (True, False, None, BOTH),
        (False, True, None, set()),
        # Stored evaluations decide.
        ("auto", True, EARLIER, GPUS),
        ("auto", True, ON_GPUS, GPUS),
        ("auto", False, ON_BOTH, BOTH),
        ("auto", True, NONE, set()),
    ],
)
def test_auto_is_what_was_stored_or_where_it_is_faster(machine, amp, fast, stored, autocast):
    machine(fast)
    for kinds in (CPUS, GPUS, BOTH):
        precision = decide_precision(amp, kinds, 16, stored)
        assert {kind for kind in BOTH if precision.on(torch.device(kind))} == autocast
        assert not precision.on(torch.device("meta"))
        entry = {"autocast": sorted(autocast)}
        assert precision.origin == ({} if stored is EARLIER else entry)


@pytest.mark.parametrize(
    ("amp", "kinds", "stored", "same"),
    [
        (True, CPUS, ON_BOTH, True),
        (True, CPUS, ON_GPUS, False),
        (True, CPUS, EARLIER, False),
        (True, GPUS, EARLIER, True),
        (True, GPUS, ON_GPUS, True),
        (True, GPUS, NONE, False),
        (True, BOTH, ON_GPUS, False),
        (False, CPUS, ON_GPUS, True),
        (False, CPUS, ON_BOTH, False),
        (False, CPUS, EARLIER, True),
        (False, GPUS, ON_GPUS, False),
        (False, GPUS, NONE, True),
        (False, BOTH, ON_GPUS, False),
        # They may have been told so: it was not stored.
        (False, GPUS, EARLIER, True),
    ],
)
def test_a_choice_is_taken_and_goes_with_what_was_stored_or_not(amp, kinds, stored, same):
    precision = decide_precision(amp, kinds, 16, stored)
    assert {precision.on(torch.device(kind)) for kind in kinds} == {amp}
    assert (precision.origin.get("autocast") == stored.get("autocast")) == same


def test_a_search_on_a_loader_goes_on_in_the_precision_that_it_began_with(
    machine, supernet, loader, tmp_path
):
    def search(name, trials, **options):
        return run_search(
            supernet,
            loader=loader,
            objectives=("cross_entropy", "macs"),
            trials=trials,
            folder=tmp_path / name,
            options=SearchOptions(**options),
        )

    alone = {}
    for fast, name in ((True, "fast"), (False, "slow")):
        machine(fast)
        alone[name] = search(f"{name} alone", 8)
        search(name, 4)
    assert SearchFile.load(tmp_path / "fast").origin["autocast"] == ["cpu", "cuda"]
    assert SearchFile.load(tmp_path / "slow").origin["autocast"] == ["cuda"]
    for fast, name in ((False, "fast"), (True, "slow")):
        machine(fast)
        assert search(name, 8) == alone[name]
        # Nor are evaluations of two precisions mixed by reuse.
        reused = search(f"{name} reused", 8, reuse=[tmp_path / name])
        assert reused.entries == alone[name].entries
    assert alone["fast"] != alone["slow"]


def test_a_metric_of_ones_own_gets_float32(machine, supernet, loader):
    machine(True)
    seen = []

    def metric(logits, targets):
        seen.append(logits)
        return {"top1": 0.5}

    arch = supernet.space.largest()
    loader_evaluator(supernet, loader, metric)(arch)
    with torch.no_grad():
        assert torch.equal(seen[0], supernet(loader[0][0], arch))


@pytest.fixture
def trained(tmp_path):
    file = tmp_path / "toy.yaml"
    file.write_text(CONFIG + f"run: {tmp_path / 'run'}\nsearch: {{trials: 3}}\n")
    assert main(["train", str(file)]) == 0
    return file


def context(file, *options):
    return RunContext(parse_call(["search", str(file), *options]).config, file, quiet=True)


@pytest.mark.parametrize("fast", [True, False])
def test_workers_evaluate_in_the_precision_of_the_driver(machine, trained, fast):
    machine(fast)
    driver = RunEvaluator(context(trained))
    carried = pickle.dumps(driver)
    arch, expected = driver.run.space.smallest(), driver()
    metrics = expected(arch)
    machine(not fast)
    there = pickle.loads(carried)()
    assert there.held_out.amp == expected.held_out.amp == fast
    assert there(arch) == metrics
    assert RunEvaluator(context(trained))()(arch) != metrics


@pytest.mark.parametrize("fast", [True, False])
def test_networks_on_workers_are_retrained_as_the_driver_decides(machine, trained, fast, tmp_path):
    machine(fast)
    driver = context(trained)
    carried = pickle.dumps(driver)
    assert driver.retrain_recipe(tmp_path).amp == "auto"
    machine(not fast)
    there = pickle.loads(carried)
    assert there.retrain_recipe(tmp_path).amp is fast
    assert there.decide_autocast("auto") is fast
    # Sent on, the decision is still the driver's; and a training that has begun has its own.
    assert pickle.loads(pickle.dumps(there)).retrain_recipe(tmp_path).amp is fast
    (tmp_path / "checkpoint.pt").touch()
    assert there.retrain_recipe(tmp_path).amp == "auto"


def test_the_search_of_a_run_keeps_its_precision_and_refuses_another(machine, trained, capsys):
    folder = trained.parent / "run" / "search" / "main"
    machine(True)
    assert main(["search", str(trained)]) == 0
    assert SearchFile.load(folder).origin["autocast"] == ["cpu", "cuda"]
    machine(False)
    run = context(trained)
    assert search_precision(run, [folder]).on(CPU)
    assert not search_precision(run, [folder.with_name("other")]).on(CPU)
    assert main(["search", str(trained), "--search.trials", "5"]) == 0
    capsys.readouterr()
    options = ["--search.trials", "7", "--supernet.amp", "false"]
    assert main(["search", str(trained), *options]) == 2
    assert capsys.readouterr().err == (
        "tokennas: supernet.amp: must be auto, got false: the evaluations that are there "
        "are in bfloat16; or search under another name (--search.name)\n"
    )
    with pytest.raises(InputError, match="must be auto, got false"):
        search_precision(context(trained, *options), [folder.with_name("other"), folder])


def test_a_search_without_evaluations_may_change_its_precision(machine, trained, monkeypatch):
    """Ten failures in a row end a search before anything is stored."""
    machine(True)
    folder = trained.parent / "run" / "search" / "main"
    with monkeypatch.context() as patch:
        patch.setattr(SupernetEvaluator, "__call__", fail)
        assert main(["search", str(trained), "--search.trials", "20"]) == 2
    assert SearchFile.load(folder).origin["autocast"] == ["cpu", "cuda"]
    assert not has_results(folder)
    options = [str(trained), "--search.trials", "7", "--supernet.amp", "false"]
    assert main(["search", *options]) == 0
    assert SearchFile.load(folder).origin["autocast"] == []
    assert has_results(folder)


def fail(self, arch):
    raise OSError("the device is broken")


def test_without_a_search_there_is_no_origin(tmp_path):
    assert read_origin([tmp_path, tmp_path / "missing"]) is None
    (tmp_path / "search.yaml").write_text("schema: other\n")
    with pytest.raises(InputError, match=r"search\.yaml"):
        read_origin([tmp_path])
