"""Subnets compile to one graph and export with any batch size."""

import pytest
import torch
from dense_toys import SECTIONS, dense_images, dense_supernet
from supernet_toys import (
    ARCHS_WITH_ALL,
    FEW,
    OWN,
    build_supernet,
    close,
    hand_made,
    images_for,
    pool,
    skip,
)

from space import Arch
from supernet import extract


def subnet_of(name, arch):
    return extract(build_supernet(name, torch.float32), arch).requires_grad_(False)


@pytest.fixture(autouse=True)
def _fresh_cache():
    torch.compiler.reset()


def one_graph(name, archs):
    net = build_supernet(name, torch.float32).requires_grad_(False)
    images = images_for(net, 3, dtype=torch.float32)
    for arch in archs:
        torch.compiler.reset()
        subnet = extract(net, arch)
        compiled = torch.compile(subnet, fullgraph=True, backend="aot_eager")
        close(compiled(images), subnet(images), 1e-4)


def test_every_operator_is_in_one_graph():
    one_graph("class token", ARCHS_WITH_ALL)


@pytest.mark.slow
@pytest.mark.parametrize("name", FEW)
def test_every_arch_is_one_graph(name):
    one_graph(name, hand_made(build_supernet(name).shape))


@pytest.mark.slow
@pytest.mark.parametrize("arch", ARCHS_WITH_ALL, ids=range(3))
def test_compiled_code_gives_the_same_logits(arch):
    subnet = subnet_of("class token", arch)
    compiled = torch.compile(subnet, fullgraph=True)
    for batch in (3, 2, 5):
        images = images_for(subnet, batch, dtype=torch.float32)
        close(compiled(images), subnet(images), 1e-4)


@pytest.mark.slow
def test_gradients_of_a_compiled_subnet():
    subnet = extract(build_supernet("registers", torch.float32), ARCHS_WITH_ALL[0]).train()
    compiled = torch.compile(subnet, fullgraph=True, backend="aot_eager")
    found = []
    for model in (subnet, compiled):
        subnet.zero_grad()
        model(images_for(subnet, dtype=torch.float32)).square().sum().backward()
        found.append([p.grad for p in subnet.parameters() if p.grad is not None])
    for ours, eager in zip(found[1], found[0], strict=True):
        close(ours, eager, 1e-4)


@pytest.mark.parametrize(
    ("name", "place"), [("class token", 0), ("average pooling", 1), ("registers", 2)]
)
def test_an_exported_subnet_takes_any_batch(name, place):
    subnet = subnet_of(name, ARCHS_WITH_ALL[place])
    images = images_for(subnet, 3, dtype=torch.float32)
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(subnet, (images,), dynamic_shapes={"x": {0: batch}})
    for count in (1, 3, 7):
        images = images_for(subnet, count, dtype=torch.float32)
        close(program.module()(images), subnet(images), 1e-4)


# The head reads inside a run of each, at a smaller grid.
DENSE_ARCHS = [
    Arch((OWN, skip(0.5), skip(0.5, shared=True), OWN)),
    Arch((pool("avg2d", (3, 4)), OWN, skip(0.25, "cls"), skip(0.25, "cls"))),
]


def dense_subnet(section, place):
    return extract(dense_supernet(section).eval(), DENSE_ARCHS[place]).requires_grad_(False)


@pytest.mark.parametrize(("section", "place"), list(zip(SECTIONS, (0, 1, 0, 1), strict=True)))
def test_a_dense_subnet_is_one_graph(section, place):
    subnet, images = dense_subnet(section, place), dense_images()
    compiled = torch.compile(subnet, fullgraph=True, backend="aot_eager")
    close(compiled(images), subnet(images), 1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("place", range(2))
@pytest.mark.parametrize("section", SECTIONS)
def test_a_compiled_dense_subnet_gives_the_same_map(section, place):
    subnet = dense_subnet(section, place)
    compiled = torch.compile(subnet, fullgraph=True)
    for count in (4, 2, 5):
        close(compiled(dense_images(count)), subnet(dense_images(count)), 1e-4)
