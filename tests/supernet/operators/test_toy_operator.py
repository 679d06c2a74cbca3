"""An operator that is defined in a test file alone is a member of spaces and of networks."""

from contextlib import ExitStack

import pytest
import torch
from supernet_toys import build, close, counted, images_for, numel
from toy_operator import Thin, ThinTokens, registered

from space import (
    Arch,
    BlockArch,
    Genes,
    InputError,
    SearchSpace,
    load_arch,
    macs,
    params,
    save_arch,
)
from space.cost import activation_memory
from supernet import Supernet, backbone_shape, extract
from supernet.export import FORMATS, export_subnet
from supernet.operators.registry import register

AXES = {
    "pool": {"blocks": [1, 4], "kinds": ["avg2d", "conv2d"], "grids": [3], "max_pools": 1},
    "share": {"max_run": 1},
    "skip": {"blocks": [3, 5], "ratios": [0.5], "selectors": ["map", "cls"]},
    "thin": {"blocks": [2, 4]},
}
THIN = BlockArch(extra=(("thin", True),))


@pytest.fixture(autouse=True)
def registration():
    with ExitStack() as stack:
        stack.enter_context(registered())
        yield stack


@pytest.fixture
def net():
    backbone = build("class token")
    return Supernet(backbone, SearchSpace.from_dict(AXES, backbone_shape(backbone)))


def archs_of(space):
    return [space.graph.path(rank) for rank in range(space.size())]


def test_the_space_holds_its_choices_at_its_blocks(net):
    space = net.space
    archs = archs_of(space)
    assert len(set(archs)) == space.size() > 100
    for i in range(space.shape.depth):
        chosen = {dict(arch.blocks[i].extra).get("thin", False) for arch in archs}
        assert chosen == ({False, True} if i in (2, 4) else {False})
    assert all(arch in space for arch in archs)
    assert len({space.identity(arch) for arch in archs}) == len(archs)
    assert SearchSpace.from_dict(space.to_dict(), space.shape) == space


def test_generic_rules_hold_for_it(net):
    plain = BlockArch()
    both = BlockArch(skip=0.5, extra=(("thin", True),))
    after = Arch((plain, plain, THIN, BlockArch(attention="shared"), plain, plain))
    assert after in net.space
    shared = Arch(
        (plain, plain, BlockArch(attention="shared", extra=(("thin", True),)), *[plain] * 3)
    )
    assert "saw exactly the same tokens" in net.space.violations(shared)[0]
    cases = {3: "no thin thin here", 5: "cannot both skip and thin"}
    for i, reason in cases.items():
        blocks = [plain] * 6
        blocks[i] = both if i == 5 else THIN
        assert any(reason in each for each in net.space.violations(Arch(tuple(blocks))))


def test_genes_files_and_costs_know_it(net, tmp_path):
    space, shape = net.space, net.shape
    genes = Genes(space)
    assert genes.categories["thin.2"] == ("none", "thin")
    for arch in archs_of(space)[::7]:
        assert genes.decode(genes.encode(arch)) == arch
        save_arch(arch, tmp_path / "arch.yaml", shape=shape)
        assert load_arch(tmp_path / "arch.yaml") == arch
        assert activation_memory(arch, shape) > 0
    text = (tmp_path / "arch.yaml").read_text()
    (tmp_path / "arch.yaml").write_text(text.replace("thin: true", "thin: perhaps"))
    if "thin" in text:
        with pytest.raises(InputError, match=r"thin: must be true or false"):
            load_arch(tmp_path / "arch.yaml")


def test_subnets_equal_the_supernet_and_cost_what_is_counted(net):
    images = images_for(net)
    archs = [arch for arch in archs_of(net.space) if any(block.extra for block in arch.blocks)]
    for arch in archs[::11]:
        subnet = extract(net, arch)
        close(subnet(images), net(images, arch))
        assert counted(subnet) == macs(arch, net.shape)
        assert numel(subnet) == params(arch, net.shape)


def test_what_it_does_is_what_it_says(net):
    images = images_for(net)
    arch = Arch((BlockArch(), BlockArch(), THIN, *[BlockArch()] * 3))
    x = net.embed(images)
    for i, block in enumerate(net.blocks):
        x = block(x if i != 2 else torch.cat([x[:, :1], x[:, 1::2]], dim=1))
    close(net(images, arch), net.forward_head(net.norm(x)))
    features = net.forward_intermediates(images, arch=arch, intermediates_only=True)
    assert [each.shape[1:] for each in features[1:3]] == [(32, 5, 5), (13, 32)]


@pytest.mark.parametrize("name", FORMATS)
def test_it_is_exported(net, tmp_path, name):
    for package in FORMATS[name].packages:
        pytest.importorskip(package)
    arch = Arch((BlockArch(), BlockArch(), THIN, BlockArch(skip=0.5), *[BlockArch()] * 2))
    subnet = extract(net, arch).float()
    images = images_for(subnet, 6, dtype=torch.float32)
    check = export_subnet(subnet, tmp_path / FORMATS[name].file, name, images)
    assert check.equal
    assert check.runs == 1


def test_names_that_are_taken_are_refused():
    with pytest.raises(InputError, match="operator 'thin': is registered already"):
        register(Thin(), ThinTokens())


def test_without_it_its_files_are_refused(tmp_path, registration):
    path = tmp_path / "arch.yaml"
    shape = backbone_shape(build("class token"))
    save_arch(Arch((*[BlockArch()] * 2, THIN, *[BlockArch()] * 3)), path, shape=shape)
    assert load_arch(path).blocks[2] == THIN
    registration.close()
    with pytest.raises(InputError, match=r"blocks\[2\]\.thin: unknown key"):
        load_arch(path)
