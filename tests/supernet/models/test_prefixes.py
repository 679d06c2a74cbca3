"""Archs that begin with the same blocks: what they share is run once, and nothing else changes."""

import pickle
import random

import pytest
import torch
from supernet_toys import BACKBONES, FEW, build_supernet, drawn, images_for, some_archs, supernet_of

from space import Arch, BlockArch, InputError
from supernet.backbones.blocks import Exposed
from supernet.models.activation_cache import default_memory_budget, storages
from supernet.models.prefixes import CLEANUP_INTERVAL, PrefixEvaluator
from supernet.operators.base import Flow
from supernet.operators.skipping import RestoreSkipped

PLENTY = 1 << 30


class Counting:
    """Counts the blocks that a supernet runs."""

    def __init__(self, monkeypatch, net):
        self.blocks = self.embeds = 0
        run_step, embed = net.run_step, net.embed

        def counted(*args):
            self.blocks += 1
            return run_step(*args)

        def embedded(images):
            self.embeds += 1
            return embed(images)

        monkeypatch.setattr(net, "run_step", counted)
        monkeypatch.setattr(net, "embed", embedded)


def refuses(*_):
    raise torch.OutOfMemoryError("CUDA out of memory")


def neighbours(space, count, seed):
    """Archs that share openings: drawn ones, crossed at a random block; those of the space."""
    rng = random.Random(seed)
    archs = drawn(space, 12, seed)
    while len(archs) < count:
        one, two = rng.sample(archs, 2)
        cut = rng.randrange(1, one.depth)
        crossed = type(one)((*one.blocks[:cut], *two.blocks[cut:]))
        if crossed in space:
            archs.append(space.canonical(crossed))
    return archs


def flow_bytes(*flows):
    """The bytes of flows, each storage once."""
    return sum({k: size for flow in flows for k, size in storages(flow).items()}.values())


def kept_bytes(openings):
    prefixes = openings._prefixes.values()
    return flow_bytes(*(cached.flow for each in prefixes for cached in each.flows.values()))


def tree(net, archs):
    """The openings of archs, and they themselves: blocks to run."""
    plans = [net.steps(arch) for arch in archs]
    return {plan[: k + 1] for plan in plans for k in range(len(plan))}


@pytest.mark.parametrize("name", BACKBONES)
@torch.inference_mode()
def test_logits_are_those_of_one_by_one_bit_for_bit(name):
    net = supernet_of(name)
    batches = [images_for(net, 2), images_for(net, 3, seed=1)]
    openings, rng = PrefixEvaluator(net, PLENTY), random.Random(0)
    archs = some_archs(net.space, 10) if name in FEW else drawn(net.space, 6)
    wanted = {arch: [net(images, arch) for images in batches] for arch in archs}
    # Once in groups, and once in any order, by what is kept of the first time.
    for group in (openings.expect(archs[::2]), openings.expect(archs[1::2]), rng.sample(archs, 5)):
        for arch in group:
            network = openings.network(arch)
            for images, logits in zip(batches, wanted[arch], strict=True):
                assert torch.equal(network(images), logits)
    assert kept_bytes(openings) == openings.cache.bytes > 0


@pytest.mark.parametrize("name", FEW)
@torch.inference_mode()
def test_so_they_are_under_autocast(name):
    net = build_supernet(name, torch.float32)
    images, archs = images_for(net, 3, dtype=torch.float32), some_archs(net.space, 10)
    openings, rounded = PrefixEvaluator(net, PLENTY), 0
    with torch.autocast("cpu", torch.bfloat16):
        for arch in openings.expect(archs):
            logits = openings.network(arch)(images)
            assert torch.equal(logits, net(images, arch))
            rounded += bool((logits == logits.bfloat16()).all())
    assert rounded == len(archs)


@pytest.mark.parametrize("most", [0, 9_000, 60_000, 300_000])
@torch.inference_mode()
def test_no_more_is_kept_than_fits_and_nothing_else_changes(monkeypatch, most):
    net = build_supernet("class token")
    batches = [images_for(net, 2), images_for(net, 3, seed=1)]
    archs = neighbours(net.space, 36, seed=most)
    wanted = {arch: [net(images, arch) for images in batches] for arch in archs}
    counting, openings = Counting(monkeypatch, net), PrefixEvaluator(net, most)
    for at in range(0, 36, 12):
        for arch in openings.expect(archs[at : at + 12]):
            network = openings.network(arch)
            for images, logits in zip(batches, wanted[arch], strict=True):
                assert torch.equal(network(images), logits)
                assert kept_bytes(openings) == openings.cache.bytes <= most
    alone = 36 * len(batches) * net.shape.depth
    assert counting.blocks == alone if most == 0 else counting.blocks < alone


@torch.inference_mode()
def test_in_a_group_every_opening_is_run_once(monkeypatch):
    net = build_supernet("class token")
    images, archs = images_for(net), list(dict.fromkeys(neighbours(net.space, 39, 0)))
    counting, openings = Counting(monkeypatch, net), PrefixEvaluator(net, PLENTY)
    group = openings.expect(archs)
    assert sorted(map(repr, group)) == sorted(map(repr, archs))
    for arch in group:
        openings.network(arch)(images)
    assert (counting.embeds, counting.blocks) == (1, len(tree(net, archs)))
    assert counting.blocks < 0.8 * len(archs) * net.shape.depth


@torch.inference_mode()
def test_in_the_order_of_the_tree_room_for_one_path_is_enough(monkeypatch):
    """An opening that later archs of the group begin with stays, whatever else comes by."""
    net = build_supernet("class token")
    images, archs = images_for(net), list(dict.fromkeys(neighbours(net.space, 39, 0)))
    generous = PrefixEvaluator(net, PLENTY)
    for arch in generous.expect(archs):
        generous.network(arch)(images)
    path = max(
        flow_bytes(*(opening.flows[images].flow for opening in generous._path(arch)))
        for arch in archs
    )
    counting, tight = Counting(monkeypatch, net), PrefixEvaluator(net, 2 * path)
    for arch in tight.expect(archs):
        tight.network(arch)(images)
    assert generous.cache.bytes > 3 * tight.cache.bytes
    assert counting.blocks <= 1.05 * len(tree(net, archs))


@torch.inference_mode()
def test_an_arch_that_fails_costs_the_others_nothing(monkeypatch):
    net = build_supernet("class token")
    batches = [images_for(net, 2), images_for(net, 3, seed=1)]
    archs, openings, rng = (
        neighbours(net.space, 30, 1),
        PrefixEvaluator(net, 200_000),
        random.Random(0),
    )
    wanted = {arch: [net(images, arch) for images in batches] for arch in archs}
    run_step, bad = net.run_step, []

    def breaks(*args):
        if bad and rng.random() < 0.3:
            raise bad[0]
        return run_step(*args)

    monkeypatch.setattr(net, "run_step", breaks)
    for arch in openings.expect(archs):
        for error in (TimeoutError("too long"), torch.OutOfMemoryError("none left"), None):
            bad[:] = [error] if error else []
            network = openings.network(arch)
            try:
                found = [network(images) for images in batches]
            except (TimeoutError, torch.OutOfMemoryError):
                found = None
            assert found is not None or error
            for logits, right in zip(found or [], wanted[arch], strict=False):
                assert torch.equal(logits, right)
            assert kept_bytes(openings) == openings.cache.bytes <= openings.cache.most_bytes


@torch.inference_mode()
def test_out_of_memory_lets_go_of_what_is_kept_and_goes_on(monkeypatch):
    net = build_supernet("class token")
    images, arch = images_for(net), net.space.largest()
    openings, run_step = PrefixEvaluator(net, PLENTY), net.run_step
    wanted = openings.network(arch)(images)

    def full(*args):
        if openings.cache.bytes:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return run_step(*args)

    monkeypatch.setattr(net, "run_step", full)
    openings.cache.most_bytes = 100
    assert torch.equal(openings.network(arch)(images), wanted)
    assert (openings.cache.most_bytes, kept_bytes(openings)) == (50, 0)
    monkeypatch.setattr(net, "run_step", refuses)
    with pytest.raises(torch.OutOfMemoryError):
        openings.network(arch)(images)


@torch.inference_mode()
def test_what_nobody_comes_to_any_more_is_forgotten():
    net = build_supernet("average pooling")
    images, openings = images_for(net), PrefixEvaluator(net, PLENTY)
    archs = some_archs(net.space, 0)
    openings.network(archs[0])(images)
    openings.expect(archs[1:3])
    for _ in range(2 * CLEANUP_INTERVAL):
        openings.network(archs[3])
    kept = {net.steps(arch)[:k] for arch in archs[:4] for k in range(net.shape.depth)}
    assert set(openings._prefixes) == kept
    openings.expect([])
    openings.cache.shrink()
    for _ in range(CLEANUP_INTERVAL):
        openings.network(archs[3])
    assert set(openings._prefixes) == {net.steps(archs[3])[:k] for k in range(net.shape.depth)}


def test_there_is_room_by_threads_and_by_what_memory_there_is(monkeypatch, tmp_path):
    cpu, gib = torch.device("cpu"), 1 << 30
    monkeypatch.setattr("supernet.models.activation_cache.os.cpu_count", lambda: 8)
    monkeypatch.setattr("supernet.models.activation_cache.os.sysconf", lambda name: 1 << 18)
    monkeypatch.setattr("supernet.models.activation_cache.MEMORY_LIMIT", tmp_path / "memory.max")
    for threads, limit, wanted in (
        (2, None, 2 * gib),
        (8, "max\n", 8 * gib),
        (2, "34359738368\n", 2 * gib),
        (8, "17179869184\n", 4 * gib),
        (1, "17179869184\n", gib / 2),
    ):
        if limit:
            (tmp_path / "memory.max").write_text(limit)
        monkeypatch.setattr(
            "supernet.models.activation_cache.torch.get_num_threads", lambda n=threads: n
        )
        assert default_memory_budget(cpu) == wanted


def test_sent_to_another_process_nothing_is_kept_yet():
    net = build_supernet("class token")
    images, arch = images_for(net), net.space.smallest()
    openings = PrefixEvaluator(net, 123_456)
    with torch.inference_mode():
        wanted = openings.network(arch)(images)
        again = pickle.loads(pickle.dumps(openings))
        assert (again.cache.bytes, again.cache.most_bytes) == (0, 123_456)
        assert torch.equal(again.network(arch)(images), wanted)


def test_what_is_not_in_the_space_is_for_its_own_evaluation_to_refuse():
    net = supernet_of("class token")
    archs = drawn(net.space, 6)
    strange = Arch((BlockArch(skip=0.5), *archs[0].blocks[1:]))
    assert strange not in net.space
    openings = PrefixEvaluator(net, PLENTY)
    found = openings.expect([archs[0], strange, *archs[1:]])
    assert found[-1] == strange
    assert sorted(map(repr, found[:-1])) == sorted(map(repr, archs))
    with pytest.raises(InputError, match="not in the space"):
        openings.network(strange)


def test_all_that_a_flow_holds_is_counted():
    whole = torch.zeros(2, 9, 8)
    parts = (torch.zeros(1, 4, 9, 9), torch.zeros(1, 4, 9, 9))
    chosen = torch.zeros(2, 8, dtype=torch.long)
    places = RestoreSkipped(torch.zeros(2, 25, 8), torch.zeros(2, 9, dtype=torch.long), chosen)
    flow = Flow(whole[:, 1:], Exposed(parts, torch.zeros(2, 8)), (places,))
    tensors = (whole, *parts, flow.exposed.read, *places)
    assert flow_bytes(flow) == sum(each.numel() * each.element_size() for each in tensors)
    assert flow_bytes(Flow(whole)) == whole.numel() * 4
