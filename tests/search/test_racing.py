"""Racing: what is stopped, how wrong that may be, and that no front knows of it."""

import itertools
import math
import pickle
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from search_toys import Evaluate, toy_space
from timm.models.vision_transformer import VisionTransformer

from search import run_search
from search.evaluator import RacingEvaluator, classification_evaluator
from search.latency.costs import make_problem
from search.objectives import DIRECTIONS, Objective
from search.racing import FEWEST, PARTS, Race, loses
from search.record import SEEN
from search.storage import read_trials
from search.trials import read_metrics
from space import InputError, SearchSpace, macs
from supernet import Supernet, backbone_shape

IMAGES = 400


@pytest.fixture(scope="module")
def supernet():
    torch.manual_seed(0)
    backbone = VisionTransformer(
        img_size=16, patch_size=4, embed_dim=16, depth=4, num_heads=2, num_classes=7
    )
    config = {
        "pool": {"kinds": ["avg2d"], "grids": [2]},
        "share": {"max_run": 2},
        "skip": {"ratios": [0.5], "selectors": ["map", "cls"]},
    }
    return Supernet(backbone, SearchSpace.from_dict(config, backbone_shape(backbone))).eval()


@pytest.fixture(scope="module")
def loader(supernet):
    """Images that the full network is right about, so that smaller ones are worse."""
    images = torch.randn(IMAGES, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        targets = supernet(images, supernet.space.largest()).argmax(dim=1)
    return list(zip(images.split(150), targets.split(150), strict=True))


def race_of(space, error=0.05, objectives=("top1", "macs"), budget=None):
    return Race(make_problem(space, objectives, budget, DIRECTIONS, ()), error)


def evaluator(supernet, loader, **args):
    return classification_evaluator(supernet, loader, race_of(supernet.space, **args))


def drawn(space, count, seed=0):
    rng = np.random.default_rng(seed)
    return [space.largest(), *(space.sample(rng) for _ in range(count))]


def dominates(one, other):
    return one[0] >= other[0] and one[1] <= other[1]


@pytest.mark.parametrize("metric", ["top1", "cross_entropy"])
def test_what_saw_all_images_has_the_metrics_of_all_and_the_rest_is_dominated(
    supernet, loader, metric
):
    evaluate = evaluator(supernet, loader, objectives=(metric, "macs"))
    sign = -1 if metric == "cross_entropy" else 1
    whole, stopped = [], 0
    for arch in drawn(supernet.space, 60):
        found = evaluate(arch)
        true = evaluate.held_out.measure(partial(supernet, arch=arch))
        point = (sign * found[metric], macs(arch, supernet.shape))
        if SEEN not in found:
            assert found == pytest.approx(true, rel=1e-9, abs=1e-12)
            whole.append(point)
            continue
        stopped += 1
        assert FEWEST / IMAGES <= found[SEEN] < 1
        assert found.keys() - {SEEN} == true.keys()
        assert any(dominates(each, point) for each in whole)
        # An estimate from some images is near what all of them say.
        assert found[metric] == pytest.approx(true[metric], abs=0.25)
    assert stopped > 10
    assert len(whole) > 5


def test_an_estimate_is_that_of_the_rival_and_the_mean_difference(supernet, loader):
    evaluate = evaluator(supernet, loader)
    full, archs = supernet.space.largest(), drawn(supernet.space, 30)[1:]
    evaluate(full)
    kept = []
    for values in evaluate.held_out.values(partial(supernet, arch=full)):
        kept.append({name: each.double() for name, each in values.items()})
    rival = {name: torch.cat([part[name] for part in kept]) for name in kept[0]}
    rivals = evaluate._rivals._front
    assert len(rivals) == 1
    # A race in which the full network is what all others are compared with.
    evaluate._rivals.of = lambda costs: rivals[0]
    stopped = 0
    for arch in archs:
        found = evaluate(arch)
        seen = round(IMAGES * found.pop(SEEN, 1))
        parts = list(evaluate.held_out.values(partial(supernet, arch=arch)))
        stopped += seen < IMAGES
        for name, value in found.items():
            own = torch.cat([part[name].double() for part in parts])[:seen]
            wanted = rival[name].mean() + (own - rival[name][:seen]).mean()
            assert value == pytest.approx(wanted.item(), rel=1e-6, abs=1e-9)
    assert stopped > 5


def test_so_many_are_stopped_wrongly_at_most():
    """Splits on which the arch is a little better than its rival: each stop is an error."""
    rng, trials, error, count = torch.Generator().manual_seed(0), 2000, 0.05, 320
    race = race_of(toy_space(), error)
    wrong = 0
    for _ in range(trials):
        worse = torch.randn(count, generator=rng, dtype=torch.float64)
        worse -= worse.mean() + 1e-3
        looks = [worse[: count * part // PARTS] for part in range(1, PARTS)]
        wrong += any(loses(some, count, race.least) for some in looks)
    # Bonferroni is on the safe side; with so many trials three standard errors are under 0.015.
    assert 0 < wrong / trials < error + 0.015


def test_what_is_clearly_worse_is_stopped_and_what_is_equal_is_not():
    least = race_of(toy_space(), 0.01).least
    worse = torch.linspace(0.1, 0.3, 100, dtype=torch.float64)
    assert loses(worse, 1000, least)
    assert not loses(-worse, 1000, least)
    assert not loses(torch.zeros(100, dtype=torch.float64), 1000, least)
    assert not loses(worse[: FEWEST - 1], 1000, least)
    assert not loses(torch.full((100,), math.nan), 1000, least)
    # Nothing is left to be stopped.
    assert not loses(worse, 100, least)
    # The less is unseen, the surer it is.
    noisy = torch.cat([torch.full((60,), 1.0), torch.full((40,), -1.0)]).double()
    assert not loses(noisy, 100_000, least)
    assert loses(noisy, 105, least)


@pytest.mark.parametrize("batch", [7, 30, 150, 400])
def test_there_are_seven_looks_at_most_however_small_the_batches_are(supernet, loader, batch):
    images, targets = (torch.cat(parts) for parts in zip(*loader, strict=True))
    batches = list(zip(images.split(batch), targets.split(batch), strict=True))
    evaluate, looks = evaluator(supernet, batches), []
    evaluate(supernet.space.largest())
    evaluate._rivals.beaten = lambda values, rival: looks.append(len(values["top1"]))
    assert SEEN not in evaluate(supernet.space.largest())
    assert PARTS - 2 <= len(looks) <= PARTS
    # The last one is at the end, where nothing is left to be stopped.
    assert sum(seen < IMAGES for seen in looks) <= PARTS - 1
    assert all(b - a >= IMAGES / PARTS / 2 for a, b in itertools.pairwise(looks))


def test_no_front_is_of_estimates_whatever_the_costs_are(supernet, loader):
    """Costs that differ from call to call: what stopped an arch need not dominate it."""
    rng = np.random.default_rng(0)

    def noisy(arch):
        return macs(arch, supernet.shape) * rng.uniform(0.8, 1.2)

    stopped = []
    front = run_search(
        supernet,
        loader=loader,
        objectives=["cross_entropy", Objective("ms", "min", noisy)],
        trials=60,
        racing=0.2,
        sampler="RandomSampler",
        on_event=lambda progress: stopped.append(progress.stopped),
    )
    assert stopped[-1] > 5
    assert not any(SEEN in entry.metrics for entry in front.entries)


def test_a_search_ends_with_archs_that_have_seen_all_images(supernet, loader, tmp_path):
    events = []

    def search(trials):
        return run_search(
            supernet,
            loader=loader,
            trials=trials,
            racing=0.05,
            sampler="RandomSampler",
            folder=tmp_path,
            on_event=events.append,
        )

    search(40)
    before = events[-1].stopped
    # Gone on with, it counts those of before, also where nothing is left to do.
    front = search(60)
    search(60)
    assert 5 < before < events[-1].stopped
    plain = classification_evaluator(supernet, loader)
    assert len(front) > 2
    for entry in front.entries:
        assert SEEN not in entry.metrics
        true = plain(entry.arch)
        assert {name: entry.metrics[name] for name in true} == pytest.approx(true, rel=1e-5)
    assert 0.2 < events[-1].images < 1
    trials = read_trials(tmp_path)
    shares = [trial.user_attrs["metrics"].get(SEEN, 1.0) for trial in trials]
    assert sum(share < 1 for share in shares) == events[-1].stopped
    assert np.mean(shares) == pytest.approx(events[-1].images)
    # What was estimated is not taken over by another search.
    assert len(read_metrics(trials)) == 60 - events[-1].stopped


def test_a_network_that_fails_stops_nobody(supernet, loader):
    evaluate = evaluator(supernet, loader)
    broken = torch.full((IMAGES,), math.nan, dtype=torch.float64)
    evaluate._rivals.remember((0.0,), {"top1": broken})
    evaluate._rivals.remember((-math.inf,), {"top1": torch.ones(IMAGES, dtype=torch.float64)})
    assert evaluate._rivals.of((1.0,)) is None


def test_a_race_goes_to_other_processes_with_what_evaluates(supernet, loader):
    evaluate = evaluator(supernet, loader)
    archs = drawn(supernet.space, 20)
    # Parts that are views would each be sent with all images.
    plain = len(pickle.dumps(classification_evaluator(supernet, loader)))
    text = pickle.dumps(evaluator(supernet, loader))
    assert len(text) < 1.1 * plain
    sent = pickle.loads(text)
    assert isinstance(sent, RacingEvaluator)
    assert [sent(arch) for arch in archs] == [evaluate(arch) for arch in archs]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ({"error": 0.0}, r"search\.racing: must be a probability over 0 and under 0\.5, got 0\.0"),
        ({"error": 0.5}, r"got 0\.5"),
        ({"error": math.nan}, "got nan"),
        ({"objectives": ("macs", "params")}, "this search measures none"),
        ({"objectives": ("top1", "kl")}, "this search measures top1, kl"),
        ({"objectives": ("kl", "macs")}, "of top1, top5, cross_entropy, .* measures kl"),
        ({"objectives": ("ours=max", "macs")}, "this search measures ours"),
        ({"budget": "kl=0.5"}, "this search measures top1, kl"),
        ({"budget": "top1=0.5"}, "this search measures top1"),
    ],
)
def test_a_race_that_cannot_be_is_refused(args, words):
    with pytest.raises(InputError, match=words):
        race_of(toy_space(), **args)


def test_what_sees_no_images_cannot_race(supernet, loader):
    with pytest.raises(InputError, match="racing: needs a supernet and a loader"):
        run_search(space=toy_space(), evaluate=Evaluate(toy_space()), racing=0.01)
    with pytest.raises(InputError, match="a metric of all images says nothing of each"):
        run_search(supernet, loader=loader, metric=lambda logits, targets: {}, racing=0.01)


def test_costs_are_all_other_objectives_to_be_minimised():
    space = toy_space()
    race = race_of(space, objectives=("top1", "macs", "tokens=max"))
    arch = space.smallest()
    known = race.problem.costs(arch)
    assert race.costs(arch) == (known["macs"], -known["tokens"])
    assert replace(race, error=0.01).least > race.least
