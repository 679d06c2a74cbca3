"""What every operator must do, whichever it is: one suite over all pools, attentions, selectors.

Each stands at block 2 of a small network whose other blocks are plain; a shared block is tested
after an own one. A new operator is one more line in OPERATORS.
"""

from functools import partial

import pytest
import torch
from supernet_toys import (
    OWN,
    SHARED,
    build_supernet,
    close,
    first,
    full_space,
    images_for,
    pool,
    skip,
    supernet_of,
    watch_blocks,
)
from torch.utils.flop_counter import FlopCounterMode

from space import macs, token_counts
from supernet import extract
from supernet.operators.base import Flow

OPERATORS = {
    "own": OWN,
    "shared": SHARED,
    "avg2d": pool("avg2d", (3, 3)),
    "max2d": pool("max2d", (5, 3)),
    "conv2d": pool("conv2d", (3, 3)),
    "avg1d": pool("avg1d", 2),
    "max1d": pool("max1d", 2),
    "conv1d": pool("conv1d", 2),
    "map selector": skip(0.5, "map"),
    "cls selector": skip(0.5, "cls"),
    "random selector": skip(0.5, "random"),
    "shared in a run": skip(0.5, shared=True),
}
NETS = ["class token", "average pooling", "registers"]
PLACE = 2

each_operator = pytest.mark.parametrize("name", OPERATORS)
each_net = pytest.mark.parametrize("net_name", NETS)


def arch_of(name):
    before = skip(0.5) if name == "shared in a run" else OWN
    return first(OWN, before, OPERATORS[name])


def after_operator(net, images, arch):
    """Tokens (B, N, D) as the operator's block leaves them, its grid, and those it found."""
    seen, flow = [], Flow(net.embed(images))
    for i, step in enumerate(net.steps(arch)):
        flow = net.run_step(i, step, flow)
        seen.append((flow.all_tokens(), step.after.grid))
    return *seen[PLACE], seen[PLACE - 1][0]


def test_every_choice_of_the_space_is_here():
    space = full_space(supernet_of("class token").shape)
    chosen = OPERATORS.values()
    assert {block.pool.kind for block in chosen if block.pool} == set(space.axes["pool"].kinds)
    assert {block.selector for block in chosen if block.skip} == set(space.axes["skip"].selectors)
    assert {block.attention for block in chosen} == {"own", "shared"}


@each_net
@each_operator
def test_shape(net_name, name):
    net, arch = supernet_of(net_name), arch_of(name)
    assert arch in net.space
    tokens, grid, _ = after_operator(net, images_for(net, 3), arch)
    block = OPERATORS[name]
    patches = 25 if block.pool is None else token_counts(arch, net.shape)[PLACE]
    assert tokens.shape == (3, net.num_prefix_tokens + patches, 32)
    assert grid == ((5, 5) if block.pool is None else block.pool.grid)
    assert net(images_for(net, 3), arch).shape == (3, 7)


@each_net
@each_operator
def test_prefix_tokens_are_neither_pooled_nor_skipped(net_name, name, monkeypatch):
    net, arch, given = supernet_of(net_name), arch_of(name), watch_blocks(monkeypatch)
    _, _, found = after_operator(net, images_for(net), arch)
    prefix = net.num_prefix_tokens
    assert torch.equal(given[PLACE][0][:, :prefix], found[:, :prefix])


@each_operator
def test_tokens_that_skip_are_unchanged(name):
    net, arch = supernet_of("registers"), arch_of(name)
    tokens, _, found = after_operator(net, images_for(net), arch)
    if tokens.shape != found.shape:
        assert OPERATORS[name].pool is not None
        return
    unchanged = (tokens == found).all(2).sum(1)
    assert unchanged.tolist() == [12 if OPERATORS[name].skip else 0] * 2


@each_net
@each_operator
def test_determinism(net_name, name):
    net, images = supernet_of(net_name), images_for(supernet_of(net_name))
    assert torch.equal(net(images, arch_of(name)), net(images, arch_of(name)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@each_operator
def test_dtype_stays(name, dtype):
    net = build_supernet("registers", dtype).requires_grad_(False)
    images = images_for(net, dtype=dtype)
    tokens, _, _ = after_operator(net, images, arch_of(name))
    assert tokens.dtype == dtype
    assert net(images, arch_of(name)).dtype == dtype


@each_net
@each_operator
def test_an_image_is_the_same_alone_and_in_a_batch(net_name, name):
    net, arch = supernet_of(net_name), arch_of(name)
    images = images_for(net, 4)
    together = net(images, arch)
    for i in range(4):
        close(net(images[i : i + 1], arch)[0], together[i])
    close(net(images.flip(0), arch), together.flip(0))


@each_net
@each_operator
def test_gradient_flows_to_the_images_and_to_what_is_used(net_name, name):
    net, arch = build_supernet(net_name), arch_of(name)
    images = images_for(net).requires_grad_(True)
    net(images, arch).square().sum().backward()
    # Tokens that skip keep their own way to the logits, so no patch is left without a gradient.
    assert images.grad.unfold(2, 8, 8).unfold(3, 8, 8).abs().amax((1, 4, 5)).gt(0).all()
    block = OPERATORS[name]
    if block.pool is not None and block.pool.learned:
        assert net.pools[str(PLACE)][block.pool.kind].weight.grad.abs().gt(0).all()
    query_key = net.blocks[PLACE].attn.qkv.weight.grad[:64]
    assert query_key.any() == (block.attention == "own")


@each_operator
def test_gradient_is_that_of_finite_differences(name):
    net = build_supernet("average pooling").requires_grad_(False)
    x = net.embed(images_for(net, 1))
    steps = net.steps(arch_of(name))
    directions = torch.randn(4, *x.shape, generator=torch.Generator().manual_seed(0)).double()
    run = partial(_sum_of_squares, net, steps)
    (gradient,) = torch.autograd.grad(run(x.requires_grad_(True)), x)
    for direction in directions:
        step = 1e-6 * direction
        slope = (run(x.detach() + step) - run(x.detach() - step)) / 2e-6
        assert float(slope) == pytest.approx(float((gradient * direction).sum()), rel=1e-5)


def _sum_of_squares(net, steps, x):
    return net.read_out(net.run_blocks(x, steps)).square().sum()


@each_net
@each_operator
def test_macs_counted_are_those_of_the_formula(net_name, name):
    net, arch = supernet_of(net_name), arch_of(name)
    with FlopCounterMode(display=False) as counter:
        extract(net, arch)(images_for(net, 1))
    assert counter.get_total_flops() == 2 * macs(arch, net.shape)
