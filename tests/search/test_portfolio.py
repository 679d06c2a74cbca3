"""Portfolios: the subnets of a front over one set of weights."""

import copy
import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache

import pytest
import torch
from search_toys import noise
from supernet_toys import ARGS, INPUT, NAMED, close, images_for, named_supernet

from search import Portfolio, run_search
from search.front.front_file import FRONT
from search.portfolio import WEIGHTS, save_portfolio
from search.problem.objectives import parse_objectives
from space import InputError, macs
from supernet import extract, save_weights
from supernet.weights import read_tensors

ABOUT = {"backbone": {"model": NAMED, "args": ARGS}, "input": INPUT, "classes": list("abcdefg")}


@cache
def front(model=NAMED):
    """Some archs of a space with every choice."""
    net = named_supernet(model)
    full = macs(net.space.largest(), net.shape)

    def evaluate(arch):
        share = macs(arch, net.shape) / full
        return {"top1": share + 0.01 * noise(net.space.identity(arch)), "latency_ms": 10 * share}

    found = run_search(space=net.space, evaluate=evaluate, trials=60, sampler="RandomSampler")
    return replace(found, entries=found.entries[::-5][::-1])


def images(count=2, seed=0):
    return images_for(named_supernet(), count, seed, torch.float32)


def saved(folder, model=NAMED):
    about = {**ABOUT, "backbone": {"model": model, "args": ARGS}}
    checks = save_portfolio(named_supernet(model), front(model), folder, about, images())
    assert len(checks) == len(front(model))
    assert all(check.equal and check.images == 2 for check in checks)
    return Portfolio.load(folder)


@pytest.mark.parametrize("stored", [False, True])
def test_every_subnet_gives_the_logits_of_the_extracted_one(tmp_path, stored):
    net = named_supernet()
    portfolio = saved(tmp_path) if stored else Portfolio(net, front())
    assert len(portfolio) == len(front()) > 5
    for served in portfolio:
        subnet = extract(net, served.entry.arch)
        close(served(images()), subnet(images()).detach(), 1e-6)
        assert not served(images()).requires_grad


def test_threads_use_different_subnets_at_the_same_time():
    portfolio = Portfolio(named_supernet(), front())
    wanted = {each.entry.identity: each(images()) for each in portfolio}
    rng = random.Random(0)
    limits = rng.choices([each.metrics["latency_ms"] for each in front().entries], k=200)

    def ask(limit):
        served = portfolio.at(latency_ms=limit)
        return served.entry, served(images())

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(ask, limits))
    assert len({entry.identity for entry, _ in found}) > 5
    for (entry, logits), limit in zip(found, limits, strict=True):
        assert entry.metrics["latency_ms"] <= limit
        assert torch.equal(logits, wanted[entry.identity])


def test_nothing_is_copied_and_a_switch_changes_nothing():
    net = named_supernet()
    before = {name: (each.data_ptr(), each._version) for name, each in net.named_parameters()}
    portfolio = Portfolio(net, front())
    for served in portfolio:
        served(images())
    assert portfolio.model is net
    after = {name: (each.data_ptr(), each._version) for name, each in net.named_parameters()}
    assert before == after
    assert portfolio.at(macs="60%") is portfolio.at(macs="60%")


def test_a_stored_one_holds_the_weights_that_its_subnets_use_once(tmp_path):
    portfolio = saved(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [FRONT, WEIGHTS]
    tensors, whole = read_tensors(tmp_path / WEIGHTS), named_supernet().state_dict()
    assert set(tensors) == set(portfolio.model.state_dict()) <= set(whole)
    assert all(torch.equal(each, whole[name]) for name, each in tensors.items())
    assert portfolio.classes == tuple("abcdefg")
    assert portfolio.model.pretrained_cfg["mean"] == tuple(INPUT["mean"])
    distilled = saved(tmp_path, "deit_tiny_distilled_patch16_224").at()
    whole = named_supernet("deit_tiny_distilled_patch16_224")
    close(distilled(images()), whole(images(), distilled.entry.arch).detach(), 1e-6)


def test_what_is_there_is_not_written_again(tmp_path):
    saved(tmp_path)
    net, stamp = named_supernet(), (tmp_path / WEIGHTS).stat().st_mtime_ns
    assert save_portfolio(net, front(), tmp_path, ABOUT, images()) == []
    assert (tmp_path / WEIGHTS).stat().st_mtime_ns == stamp
    shorter = replace(front(), entries=front().entries[1:])
    assert len(save_portfolio(net, shorter, tmp_path, ABOUT, images())) == len(shorter)
    assert len(Portfolio.load(tmp_path)) == len(shorter)
    other = copy.deepcopy(net)
    with torch.no_grad():
        other.head.bias.add_(1)
    assert len(save_portfolio(other, shorter, tmp_path, ABOUT, images())) == len(shorter)
    assert torch.equal(Portfolio.load(tmp_path).model.head.bias, other.head.bias)


def test_a_budget_gives_the_best_within_it():
    portfolio, found = Portfolio(named_supernet(), front()), front()
    assert portfolio.at().entry is found.entries[0]
    for share in (0.9, 0.75, 0.6):
        entry = portfolio.at(macs=f"{share:.0%}").entry
        within = [e for e in found.entries if e.metrics["macs"] <= share * found.full["macs"]]
        assert entry.metrics["top1"] == max(each.metrics["top1"] for each in within)
        assert portfolio.at(flops=2 * share * found.full["macs"]).entry is entry
        assert portfolio.at(macs=f"{share:.0%}", latency_ms=10).entry is entry


def test_a_limit_goes_by_the_metrics_own_direction():
    net, found = named_supernet(), front()
    entries = tuple(
        replace(
            e, metrics={**e.metrics, "kl": 1 - e.values[0]}, values=(1 - e.values[0], e.values[1])
        )
        for e in found.entries
    )
    objectives = parse_objectives(["kl", "macs"])
    portfolio = Portfolio(net, replace(found, objectives=objectives, entries=entries))
    limit = entries[-2].metrics["top1"]
    assert portfolio.at(top1=limit).entry.metrics["top1"] >= limit
    with pytest.raises(InputError, match=r"none is within top1=1.5"):
        portfolio.at(top1=1.5)
    with pytest.raises(InputError, match=r"none is within top1="):
        portfolio.at(top1=limit, macs=entries[-1].metrics["macs"])


def test_a_budget_of_latency_is_kept_by_measurement_where_there_is_one_of_all():
    def slower(entry):
        ms = 1.2 * entry.metrics["latency_ms"]
        return replace(entry, metrics={**entry.metrics, "measured_latency_ms": ms})

    found = front()
    timed = replace(found, entries=tuple(map(slower, found.entries)))
    some = replace(timed, entries=(found.entries[0], *timed.entries[1:]))
    net, limits = named_supernet(), [e.metrics["latency_ms"] for e in found.entries]
    by_prediction, by_measurement = Portfolio(net, found), Portfolio(net, timed)
    for limit in limits:
        wanted = by_prediction.at(latency_ms=limit).entry
        assert Portfolio(net, some).at(latency_ms=limit).entry.identity == wanted.identity
        assert by_measurement.at(latency_ms=1.2 * limit + 1e-9).entry.identity == wanted.identity
        if limit / 1.2 >= min(limits):
            kept = by_measurement.at(latency_ms=limit).entry
            assert kept.metrics["measured_latency_ms"] <= limit
    tight, loose = min(limits), 10 * max(limits)
    for given in ((tight, loose), (loose, tight)):
        both = dict(zip(("latency_ms", "measured_latency_ms"), given, strict=True))
        with pytest.raises(InputError, match="none is within"):
            by_measurement.at(**both)
    with pytest.raises(InputError, match=f"theirs: {1.2 * min(limits):.3g}"):
        by_measurement.at(latency_ms=min(limits))


def test_weights_and_front_of_two_portfolios_are_no_portfolio(tmp_path):
    saved(tmp_path / "one")
    shorter = replace(front(), entries=front().entries[1:])
    save_portfolio(named_supernet(), shorter, tmp_path / "other", ABOUT, images())
    (tmp_path / "one" / FRONT).write_bytes((tmp_path / "other" / FRONT).read_bytes())
    with pytest.raises(InputError, match=r"was not written for the front\.yaml beside it"):
        Portfolio.load(tmp_path / "one")
    # As after a kill between the two files: the same command puts it right.
    assert save_portfolio(named_supernet(), shorter, tmp_path / "one", ABOUT, images())
    assert len(Portfolio.load(tmp_path / "one")) == len(shorter)


def test_what_no_subnet_meets_is_told_with_the_range():
    portfolio = Portfolio(named_supernet(), front())
    with pytest.raises(InputError, match=r"none is within latency_ms=0.1 \(theirs: \d.* to \d"):
        portfolio.at(latency_ms=0.1)
    with pytest.raises(InputError, match=r"within macs=1%, latency_ms=9 \(theirs|macs=1% \(theirs"):
        portfolio.at(macs="1%", latency_ms=9)
    with pytest.raises(InputError, match="did you mean 'latency_ms'"):
        portfolio.at(latency=5)
    with pytest.raises(InputError, match="must be a number such as"):
        portfolio.at(macs="half")


def test_what_does_not_belong_together_is_refused(tmp_path):
    net, found = named_supernet(), front()
    with pytest.raises(InputError, match="the front is empty"):
        Portfolio(net, replace(found, entries=()))
    with pytest.raises(InputError, match="depth 6 instead of 5"):
        Portfolio(net, replace(found, shape=replace(found.shape, depth=5)))
    with pytest.raises(InputError, match="prefix 2 instead of 1"):
        save_portfolio(
            named_supernet("deit_tiny_distilled_patch16_224"), found, tmp_path, ABOUT, images()
        )
    net.train()
    try:
        with pytest.raises(InputError, match=r"supernet.eval\(\)"):
            Portfolio(net, found)
    finally:
        net.eval()
    saved(tmp_path)
    for damage, words in (
        (lambda path: path.unlink(), "portfolio.safetensors: cannot be read"),
        (lambda path: save_weights(net, path), "no weights of a portfolio"),
        (lambda path: save_weights(net, path, {"arch": "[]"}), "must be a mapping"),
        (lambda path: path.write_bytes(path.read_bytes()[:999]), "no weights of a portfolio"),
    ):
        damage(tmp_path / WEIGHTS)
        with pytest.raises(InputError, match=words):
            Portfolio.load(tmp_path)
