"""Own and shared attention of single blocks, and sharing along a model."""

import pytest
import torch
from supernet_toys import (
    BACKBONES,
    FEW,
    OWN,
    SHARED,
    build,
    build_supernet,
    close,
    first,
    images_for,
    skip,
    some_archs,
    supernet_of,
    watch_blocks,
)
from timm.layers import DropPath

from supernet.backbones import blocks
from supernet.backbones.blocks import Exchange, Request, elastic_block
from supernet.models import forward


def by_logits(logits):
    """A score of tokens by logits; each image's depends on it alone."""
    return logits.exp().sum((1, 2))


def by_rows(query, key, scale=1.0):
    """The same by queries and keys."""
    return (query[:, :, :1] * key).sum((1, 3))


WANTS = {
    "nothing": Request(),
    "map": Request(maps=True),
    "scores": Request(read_logits=by_logits),
    "row scores": Request(read_rows=by_rows),
    "queries and keys": Request(query_key=True),
    "map, scores": Request(maps=True, read_logits=by_logits, query_key=True),
}


def tokens(count=9, width=32, batch=2, requires_grad=False):
    x = torch.randn(batch, count, width, generator=torch.Generator().manual_seed(count))
    return x.double().requires_grad_(requires_grad)


def attention_of(name):
    return elastic_block(build(name).blocks[0]).attn


def own_attention(attn, x, request):
    """What attention gives, and what it leaves."""
    exchange = Exchange(request)
    y = attn(x, exchange=exchange)
    return y, exchange.exposed


def shared_attention(attn, x, maps):
    return attn(x, exchange=Exchange(maps=maps))


@pytest.mark.parametrize("want", WANTS.values(), ids=WANTS)
@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("name", ["class token", "registers", "scaled", "gated"])
def test_own_attention_is_that_of_timm(name, fused, want):
    attn, x = attention_of(name), tokens()
    attn.fused_attn = fused
    y, exposed = own_attention(attn, x, want)
    close(y, attn(x))
    found = [each is not None for each in exposed]
    scored = bool(want.read_logits or want.read_rows)
    assert found == [want.maps, scored, want.query_key]


@pytest.mark.parametrize("name", ["class token", "registers", "gated"])
def test_what_it_exposes(name):
    attn, x = attention_of(name), tokens()
    _, exposed = own_attention(attn, x, Request(maps=True, read_logits=by_logits, query_key=True))
    query, key, _ = attn.qkv(x).reshape(2, 9, 3, attn.num_heads, -1).permute(2, 0, 3, 1, 4)
    query, key = attn.q_norm(query), attn.k_norm(key)
    close(exposed.query_key[0], query)
    close(exposed.query_key[1], key)
    logits = torch.einsum("bhid,bhjd->bhij", query, key) / attn.head_dim**0.5
    close(exposed.read, by_logits(logits))
    close(torch.cat(exposed.maps), logits.softmax(-1))
    _, exposed = own_attention(attn, x, Request(read_rows=by_rows))
    close(exposed.read, by_rows(query, key))


@pytest.mark.parametrize("images", [1, 2, 3, 5])
@pytest.mark.parametrize("name", ["class token", "registers", "gated"])
def test_maps_made_part_by_part_are_the_same(monkeypatch, name, images):
    attn, want = attention_of(name), Request(maps=True, read_logits=by_logits)
    x = tokens(batch=5, requires_grad=True)
    whole, all_exposed = own_attention(attn, x, want)
    whole.sum().backward()
    gradient, x.grad = x.grad.clone(), None
    # Room for the maps of so many images, and not for one more.
    monkeypatch.setattr(blocks, "CACHED_BYTES", (images + 1) * 4 * 9 * 9 * 8 - 1)
    parts = list(blocks._split_batch(x.view(5, 4, 9, 8), x.view(5, 4, 9, 8)))
    assert [len(part) for part, _ in parts][:1] == [images]
    assert sum(len(part) for part, _ in parts) == 5
    y, exposed = own_attention(attn, x, want)
    y.sum().backward()
    close(y, whole)
    close(torch.cat(exposed.maps), torch.cat(all_exposed.maps))
    close(exposed.read, all_exposed.read)
    close(x.grad, gradient)
    close(shared_attention(attn, x, exposed.maps), shared_attention(attn, x, all_exposed.maps))


@pytest.mark.parametrize("name", FEW)
def test_archs_whose_maps_are_made_image_by_image_have_the_same_logits(monkeypatch, name):
    net = supernet_of(name)
    images, archs = images_for(net, 3), some_archs(net.space, 15)
    expected = [net(images, arch) for arch in archs]
    monkeypatch.setattr(blocks, "CACHED_BYTES", 0)
    for arch, logits in zip(archs, expected, strict=True):
        close(net(images, arch), logits)


def test_a_kept_map_is_in_the_dtype_that_it_is_computed_with():
    attn, x = attention_of("class token").float(), tokens().float()
    with torch.autocast("cpu", torch.bfloat16):
        y, exposed = own_attention(attn, x, Request(maps=True))
        assert exposed.maps[0].dtype == torch.bfloat16
        close(y, attn(x), 1e-2)
        close(shared_attention(attn, x, exposed.maps), y, 1e-2)


@pytest.mark.parametrize("name", ["class token", "scaled", "gated"])
def test_a_block_that_is_given_its_own_map_is_itself(name):
    block, x = build(name).blocks[1], tokens()
    elastic, first = elastic_block(block), Exchange(Request(maps=True))
    plain = elastic(x, exchange=first)
    second = Exchange(Request(maps=True), first.exposed.maps)
    shared = elastic(x, exchange=second)
    close(plain, block(x))
    close(shared, plain)
    assert second.exposed.maps is first.exposed.maps


def test_a_given_map_is_used_head_by_head():
    attn, x = attention_of("class token"), tokens()
    maps = torch.zeros(2, 4, 9, 9).double()
    maps[:, 0, :, 3] = 1  # every query of head 0 reads token 3 alone; other heads read nothing
    value = attn.qkv(x)[..., -32:]
    read = torch.zeros(2, 9, 32).double()
    read[..., :8] = value[:, 3:4, :8]
    close(shared_attention(attn, x, (maps,)), attn.proj(read))


@pytest.mark.parametrize("name", BACKBONES)
def test_shared_attention_needs_no_query_and_key(name):
    attn, x = attention_of(name), tokens()
    maps = torch.rand(2, 4, 9, 9, generator=torch.Generator().manual_seed(0)).double()
    before = shared_attention(attn, x, (maps,))
    with torch.no_grad():
        attn.qkv.weight[: 2 * attn.attn_dim] = torch.nan
    assert torch.equal(shared_attention(attn, x, (maps,)), before)


def test_gradient_reaches_the_producer():
    net, images = build_supernet("class token"), images_for(supernet_of("class token"))
    arch, rows = first(OWN, OWN, SHARED, SHARED), slice(2 * 32)

    def pull(cut):
        """The gradient of block 1's queries and keys, where `cut` blocks take maps as constants."""

        exchange = forward._call_block

        def run(block, x, maps, request):
            detached = maps if maps is None or block not in cut else tuple(a.detach() for a in maps)
            y, exposed = exchange(block, x, detached, request)
            return y, exposed._replace(maps=maps) if maps is not None else exposed

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(forward, "_call_block", run)
            net.zero_grad()
            net(images, arch).sum().backward()
        return net.blocks[1].attn.qkv.weight.grad[rows].clone()

    whole, constant = pull([]), pull(list(net.blocks))
    one, other = pull([net.blocks[2]]), pull([net.blocks[3]])
    net.zero_grad()
    net(images, arch).sum().backward()
    close(net.blocks[1].attn.qkv.weight.grad[rows], whole)
    # Each of the two blocks adds its own share, beside what block 1 itself gives.
    assert (whole - constant).norm() > 0.01 * whole.norm()
    close(one + other, whole + constant)
    for i in (2, 3):
        assert not net.blocks[i].attn.qkv.weight.grad[rows].any()


def test_a_chain_uses_one_map(monkeypatch):
    net, seen = supernet_of("class token"), watch_blocks(monkeypatch)
    net(images_for(net), first(OWN, SHARED, SHARED, OWN, skip(), skip(shared=True)))
    given = [maps for _, maps, _ in seen]
    left = [exposed.maps for _, _, exposed in seen]
    assert [maps is None for maps in given] == [True, False, False, True, True, False]
    assert given[1] is given[2] is left[0]
    assert given[5] is left[4]
    assert [part.shape for part in given[5]] == [(2, 4, 14, 14)]
    # A map is made for those alone that a later block reuses, and let go after the last of them.
    assert [maps is None for maps in left] == [False, False, True, True, False, True]


def test_attention_dropout_acts_on_the_reused_map():
    attn, x = attention_of("class token").train(), tokens()
    attn.attn_drop.p = 0.5
    maps = torch.rand(2, 4, 9, 9, generator=torch.Generator().manual_seed(0)).double()
    torch.manual_seed(0)
    found = shared_attention(attn, x, (maps,))
    torch.manual_seed(0)
    dropped = torch.nn.functional.dropout(maps, 0.5)
    assert (dropped == 0).any()
    attn.eval()
    close(found, shared_attention(attn, x, (dropped,)))


def test_the_exposed_map_has_no_dropout():
    attn, x = attention_of("class token").train(), tokens()
    attn.attn_drop.p = 0.5
    torch.manual_seed(0)
    y, exposed = own_attention(attn, x, Request(maps=True))
    close(torch.cat(exposed.maps).sum(-1), torch.ones(2, 4, 9).double())
    torch.manual_seed(0)
    attn.fused_attn = False
    close(y, attn(x))


def test_a_block_trains_as_that_of_timm():
    block, x = build("registers").train().blocks[1], tokens(batch=8)
    block.attn.attn_drop.p = block.attn.proj_drop.p = block.mlp.drop1.p = 0.2
    block.drop_path1, block.drop_path2 = DropPath(0.5), DropPath(0.5)
    torch.manual_seed(1)
    y = elastic_block(block)(x, exchange=Exchange())
    torch.manual_seed(1)
    assert torch.equal(y, block(x))
    untouched = (y == x).flatten(1).all(1)
    assert untouched.any()
    assert not untouched.all()


def test_fused_attention_runs_unless_a_map_is_wanted(monkeypatch):
    attn, calls = attention_of("class token"), []
    fused = torch.nn.functional.scaled_dot_product_attention

    def count(*args, **kwargs):
        calls.append(args)
        return fused(*args, **kwargs)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", count)
    for want, runs in zip(WANTS.values(), (1, 0, 0, 1, 1, 0), strict=True):
        calls.clear()
        own_attention(attn, tokens(), want)
        assert len(calls) == runs
