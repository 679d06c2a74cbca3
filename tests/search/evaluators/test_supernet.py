import copy
import pickle
import shutil
from functools import partial

import numpy as np
import pytest
import torch
from dense_toys import dense_images, dense_supernet, dense_task, label_maps
from stages_config import CONFIG
from timm.models.vision_transformer import VisionTransformer
from torch.nn import functional as F
from toy_task import Number, registered

from search import run_search
from search.cli.main import main
from search.cli.parse import parse_call
from search.evaluators.base import shares_work
from search.evaluators.supernet import loader_evaluator
from search.pipeline.context import RunContext
from search.pipeline.run_evaluator import CarriedEvaluator, RunEvaluator, shared
from space import InputError, SearchSpace, macs
from supernet import Supernet, backbone_shape


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
    return [
        (torch.randn(6, 3, 16, 16, generator=rng), torch.randint(7, (6,), generator=rng))
        for _ in range(2)
    ]


def joined(loader):
    return tuple(torch.cat(parts) for parts in zip(*loader, strict=True))


def test_a_supernet_that_diverged_is_refused_by_name(supernet, loader):
    broken = copy.deepcopy(supernet)
    with torch.no_grad():
        broken.head.weight[0, 0] = torch.nan
    with pytest.raises(InputError, match=r"supernet's head\.weight is not finite: its training"):
        run_search(broken, loader=loader, trials=2)


def test_a_supernet_is_searched_on_a_users_loader(supernet, loader):
    front = run_search(
        supernet, loader=loader, objectives=("cross_entropy", "macs"), budget="macs=90%", trials=8
    )
    images, targets = joined(loader)
    assert front.evaluations == 8
    for entry in front.entries:
        with torch.no_grad():
            logits = supernet.eval()(images, entry.arch)
            full = supernet(images, supernet.space.largest())
        assert entry.metrics["cross_entropy"] == pytest.approx(
            F.cross_entropy(logits, targets).item(), rel=1e-5
        )
        kl = F.kl_div(logits.log_softmax(1), full.softmax(1), reduction="batchmean").item()
        assert entry.metrics["kl"] == pytest.approx(kl, rel=1e-3, abs=1e-7)
        assert entry.metrics["macs"] == macs(entry.arch, supernet.shape)
    assert front.images == 12
    losses = [
        F.cross_entropy(supernet(images, entry.arch), targets, reduction="none").detach()
        for entry in front.entries
    ]
    assert len(front) > 1
    for one, other, lead in zip(losses, losses[1:], front.leads, strict=False):
        assert lead.ahead == pytest.approx((other - one).mean().item(), abs=1e-5)
        assert lead.error == pytest.approx((other - one).std().item() / 12**0.5, abs=1e-5)


def test_a_users_metric_takes_the_place_of_the_usual_ones(supernet, loader):
    def metric(logits, targets):
        assert logits.shape == (12, 7)
        return {"margin": (logits.amax(1) - logits.mean(1)).mean()}

    front = run_search(
        supernet,
        supernet.space,
        loader=loader,
        metric=metric,
        objectives=("margin=max", "macs"),
        trials=6,
    )
    images, targets = joined(loader)
    for entry in front.entries:
        with torch.no_grad():
            wanted = metric(supernet(images, entry.arch), targets)["margin"].item()
        assert entry.metrics["margin"] == pytest.approx(wanted, rel=1e-5)


def test_a_users_metric_needs_maps_of_one_size_and_the_tasks_own_do_not():
    supernet, task = dense_supernet("segmentation"), dense_task("segmentation")
    loader = [(dense_images(seed=i), label_maps(size=(32 + i, 48), seed=i)) for i in range(2)]

    def accuracy(logits, targets):
        return {"accuracy": (logits.argmax(1)[:, :32] == targets[:, ::2, ::2]).float().mean()}

    words = {"task": task, "trials": 2, "objectives": ("accuracy=max", "macs")}
    with pytest.raises(InputError) as caught:
        run_search(supernet, loader=loader, metric=accuracy, **words)
    assert str(caught.value) == (
        "metric: gets all targets in one tensor, and those of the loader differ in size, such as "
        "32 x 48 and 33 x 48; bring them to one size, or leave metric out for those of the task "
        "segmentation"
    )
    assert run_search(supernet, loader=loader[:1] * 2, metric=accuracy, **words).evaluations == 2
    del words["objectives"]
    front = run_search(supernet, loader=loader, objectives=("miou", "macs"), **words)
    assert front.images == 8


def test_a_supernet_of_another_task_is_judged_by_its_metrics(supernet, loader, tmp_path):
    images, targets = joined(loader)
    with registered():
        search = partial(run_search, supernet, loader=loader, objectives=("rms", "macs"), trials=5)
        front = search(task=Number(), folder=tmp_path)
        assert [str(each) for each in front.objectives] == ["rms=min", "macs=min"]
        for entry in front.entries:
            with torch.no_grad():
                error = supernet(images, entry.arch)[:, 0] - targets
            assert entry.metrics["rms"] == pytest.approx(error.square().mean().sqrt().item())
        assert search(task=Number(), folder=tmp_path) == front
        with pytest.raises(InputError, match="task"):
            search(task=Number(scale=2.0), folder=tmp_path)


def test_what_archs_share_changes_no_metric(supernet, loader):
    rng = np.random.default_rng(0)
    archs = [supernet.space.sample(rng) for _ in range(30)]
    evaluate = loader_evaluator(supernet, loader)
    for arch in evaluate.expect(archs):
        plain = evaluate.held_out.measure(partial(supernet, arch=arch))
        assert evaluate(arch) == evaluate(arch) == plain


def test_what_is_missing_is_said(supernet, loader):
    with pytest.raises(InputError, match="a supernet is judged on a loader"):
        run_search(supernet)
    with pytest.raises(InputError, match="needs a supernet or a space"):
        run_search(evaluate=lambda arch: {"top1": 0.5})
    with pytest.raises(InputError, match="and by nothing else"):
        run_search(supernet, loader=loader, evaluate=lambda arch: {"top1": 0.5})


def test_batches_that_are_no_pairs_are_refused(supernet, loader):
    dicts = [{"image": images, "label": targets} for images, targets in loader]
    for batches, got in (
        (dicts, "dict of image, label"),
        ([images for images, _ in loader], "Tensor"),
        ([(images, 5) for images, _ in loader], "tuple of Tensor, int"),
    ):
        for metric in (None, lambda logits, targets: {"top1": 0.5}):
            with pytest.raises(InputError) as caught:
                run_search(supernet, loader=batches, metric=metric, trials=1)
            assert str(caught.value) == (
                f"loader: a batch must be (images, targets), two tensors, got a {got}"
            )


def test_a_carried_evaluator_measures_what_that_of_the_run_measures(tmp_path):
    config = tmp_path / "toy.yaml"
    config.write_text(CONFIG + f"run: {tmp_path / 'run'}\n")
    assert main(["train", str(config)]) == 0
    made = RunEvaluator(RunContext(parse_call(["search", str(config)]).config, config))
    carried = pickle.loads(pickle.dumps(made))
    assert isinstance(carried, CarriedEvaluator)
    assert shares_work(made)
    shutil.rmtree(tmp_path / "run")
    config.unlink()
    there = carried()
    assert not (tmp_path / "run").exists()
    config.write_text(CONFIG + f"run: {tmp_path / 'run'}\n")
    assert main(["train", str(config)]) == 0
    here, rng = made(), np.random.default_rng(0)
    space = here.supernet.space
    for arch in [space.sample(rng) for _ in range(8)]:
        assert there(arch) == here(arch)


def test_carried_weights_are_those_that_everybody_reads():
    array = np.arange(6.0)
    array.flags.writeable = False
    assert shared(array).data_ptr() == array.ctypes.data
