"""Selectors and the choice of tokens."""

import math

import pytest
import torch
from supernet_toys import (
    OWN,
    build_supernet,
    close,
    first,
    images_for,
    skip,
    some_archs,
    supernet_of,
)
from torch.nn import functional as F

from supernet.operators import skipping
from supernet.operators.selection import (
    LIFT,
    MapSelector,
    choose,
    column_sums,
    compute_rows,
    gather_tokens,
    row_importance,
    scatter_tokens,
)
from supernet.operators.skipping import divergence

HEADS, N, PREFIX, K = 3, 9, 2, 4


def noise(*size, seed=0, dtype=torch.float64):
    return torch.randn(size, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def test_equal_importances_go_to_the_lower_index():
    scores = torch.tensor([[1.0, 2, 1, 2, 1], [0, 0, 0, 0, 0], [3, 1, 2, 1, 2]])
    assert choose(scores, 3).tolist() == [[0, 1, 3], [0, 1, 2], [0, 2, 4]]
    assert choose(scores, 2).tolist() == [[1, 3], [0, 1], [0, 2]]
    many = torch.zeros(2, 300)
    many[:, 290:] = 1
    assert choose(many, 200)[0].tolist() == [*range(190), *range(290, 300)]


@pytest.mark.parametrize("k", range(1, 8))
def test_the_k_most_important_in_ascending_order(k):
    scores = noise(5, 7)
    chosen = choose(scores, k)
    assert chosen.shape == (5, k)
    assert torch.equal(chosen, chosen.sort(dim=1).values)
    assert torch.equal(chosen, scores.topk(k).indices.sort(dim=1).values)


@pytest.mark.parametrize("shift", [0.0, -30.0, 1000.0])
def test_a_map_selector_starts_with_the_map_before(shift):
    logits = 4 * noise(2, HEADS, N, N) + shift
    log_maps = MapSelector(HEADS).double()(logits)
    close(log_maps.exp(), logits.softmax(-1), N * math.exp(-LIFT))
    near = logits - logits.amax(-1, keepdim=True) > -LIFT
    assert 0.9 < near.double().mean() < 1
    close(log_maps[near], logits.log_softmax(-1)[near], N * math.exp(-LIFT))
    single = MapSelector(HEADS)(logits.float())
    close(single.exp(), logits.float().softmax(-1), 3e-6)


def test_a_map_selector_does_not_see_shifts_of_a_row_as_softmax_does_not():
    selector = MapSelector(HEADS).double()
    for parameter in selector.parameters():
        torch.nn.init.normal_(parameter)
    logits, shifts = noise(2, HEADS, N, N), 20 * noise(2, HEADS, N, 1, seed=1)
    close(selector(logits + shifts), selector(logits))
    close(selector.importance(logits + shifts, PREFIX), selector.importance(logits, PREFIX))


def test_rows_of_any_height_teach_a_map_selector():
    selector = MapSelector(HEADS).double()
    logits = noise(2, HEADS, N, N) - 50
    truth = noise(2, HEADS, N, N, seed=1)
    for rows in ((slice(None), slice(None), slice(0, 1)), (slice(1), slice(None), slice(None))):
        selector.zero_grad()
        divergence(truth[rows], selector(logits)[rows]).backward()
        assert (selector.predict.weight.grad != 0).all()
        assert (selector.hidden.weight.grad != 0).all()


def test_a_map_selector_is_two_convolutions_over_the_heads():
    selector = MapSelector(HEADS).double()
    for parameter in selector.parameters():
        torch.nn.init.normal_(parameter)
    logits = noise(2, HEADS, N, N)
    below = logits - logits.amax(-1, keepdim=True)
    hidden = F.conv2d(below, selector.hidden.weight[..., None, None], selector.hidden.bias).relu()
    assert (hidden == 0).any()
    expected = F.conv2d(hidden, selector.predict.weight[..., None, None]).log_softmax(-1)
    close(selector(logits), expected)


def test_importance_of_maps_is_their_column_sum():
    maps = noise(2, HEADS, N, N).softmax(-1)
    found = column_sums(maps, PREFIX)
    for image, scores in zip(maps, found, strict=True):
        for j, score in enumerate(scores):
            column = [float(head[i, PREFIX + j]) for head in image for i in range(N)]
            assert float(score) == pytest.approx(sum(column) / HEADS, rel=1e-12)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_importance_of_a_map_selector_is_that_of_the_maps_it_predicts(dtype):
    selector = MapSelector(HEADS).to(dtype)
    for parameter in selector.parameters():
        torch.nn.init.normal_(parameter)
    logits = noise(2, HEADS, N, N).to(dtype)
    found = selector.importance(logits, PREFIX)
    assert found.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert not found.requires_grad
    close(
        found, column_sums(selector(logits).exp(), PREFIX), 1e-9 if found.dtype == dtype else 1e-6
    )


@pytest.mark.parametrize("cls", [True, False])
def test_importance_of_a_row(cls):
    query, key = noise(2, HEADS, N, 5), noise(2, HEADS, N, 5, seed=1)
    row = query[:, :, 0] if cls else query[:, :, PREFIX:].mean(2)
    maps = torch.einsum("bhd,bhnd->bhn", row, key).mul(0.3).softmax(-1)
    close(row_importance(query, key, 0.3, PREFIX, cls), maps.mean(1)[:, PREFIX:])


def test_take_and_put_back():
    x, index = noise(2, N, 5), torch.tensor([[0, 2, 3, 6], [1, 2, 4, 5]])
    rows = compute_rows(index, PREFIX, N)
    taken = gather_tokens(x, rows)
    assert taken.shape == (2, PREFIX + K, 5)
    assert torch.equal(taken[:, :PREFIX], x[:, :PREFIX])
    patches = index[..., None].expand(-1, -1, 5) + PREFIX
    assert torch.equal(taken[:, PREFIX:], x.gather(1, patches))
    assert torch.equal(scatter_tokens(x, rows, taken), x)
    whole = scatter_tokens(x, rows, -taken)
    for b in range(2):
        through = [*range(PREFIX), *(PREFIX + j for j in index[b].tolist())]
        signs = torch.tensor([[-1.0] if n in through else [1.0] for n in range(N)])
        assert torch.equal(whole[b], x[b] * signs)


@pytest.fixture
def scores(monkeypatch):
    """Every importance that a model chooses by, as it comes."""
    seen = []
    monkeypatch.setattr(
        skipping, "choose", lambda each, k: (seen.append((each, k)), choose(each, k))[1]
    )
    return seen


@pytest.mark.parametrize("selector", ["map", "cls"])
def test_importance_is_single_precision_under_autocast(scores, selector):
    net = build_supernet("class token", torch.float32)
    arch = first(OWN, skip(selector=selector))
    images = images_for(net, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        net(images, arch)
    net.bfloat16()(images.bfloat16(), arch)
    net.double()(images.double(), arch)
    assert [each.dtype for each, _ in scores] == [torch.float32, torch.float32, torch.float64]
    # Values that bfloat16 cannot hold: nothing was rounded on the way.
    assert all((each != each.bfloat16()).any() for each, _ in scores)


@pytest.mark.parametrize("selector", ["map", "cls"])
def test_under_autocast_tokens_are_chosen_by_what_float32_makes_of_the_same_logits(
    monkeypatch, scores, selector
):
    net, seen = build_supernet("class token", torch.float32), []
    images, block = images_for(net, dtype=torch.float32), net.blocks[0].attn
    project, prefix = block.project, net.num_prefix_tokens
    monkeypatch.setattr(block, "project", lambda x: (seen.append(project(x)), seen[-1])[1])
    with torch.autocast("cpu", torch.bfloat16):
        net(images, first(OWN, skip(selector=selector)))
    query, key, _ = seen[0]
    assert query.dtype == torch.bfloat16
    if selector == "map":
        with torch.autocast("cpu", torch.bfloat16):
            logits = (query * block.scale) @ key.transpose(-2, -1)
        importance = net.selectors["1"].importance(logits.float(), prefix)
    else:
        importance = row_importance(query.float(), key.float(), block.scale, prefix, cls=True)
    ((found, k),) = scores
    assert torch.equal(found, importance)
    assert torch.equal(choose(found, k), choose(importance, k))


def test_selectors_learn_the_same_of_the_same_maps_under_autocast():
    net = build_supernet("class token", torch.float32)
    rng = torch.Generator().manual_seed(0)
    heads, n = net.num_heads, net.shape.patch_tokens + net.num_prefix_tokens
    size = 2, 2, 3, heads, n, net.embed_dim // heads
    pairs = torch.randn(size, generator=rng)
    gradients = []
    for enabled in (True, False):
        net.zero_grad()
        learning = skipping.SelectorLearning(net, torch.ones(3, dtype=torch.bool))
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            for block, (query, key) in enumerate(pairs):
                learning(block, query, key)
        assert learning.losses[0].dtype == torch.float32
        gradients.append([weight.grad.clone() for weight in net.selectors["1"].parameters()])
    assert all(map(torch.equal, *gradients))
    assert all(gradient.any() for gradient in gradients[0])


@pytest.mark.parametrize("name", ["class token", "not square"])
def test_the_number_of_tokens_is_exact(scores, name):
    net = supernet_of(name)
    p = net.shape.patch_tokens
    for percent, share in ((25, 0.25), (50, 0.5), (80, 0.8)):
        net(images_for(net), first(OWN, skip(share)))
        assert scores[-1][0].shape == (2, p)
        assert scores[-1][1] == p - percent * p // 100


def test_an_image_has_the_same_tokens_alone_and_in_a_batch(scores):
    net = supernet_of("registers")
    images = images_for(net, count=5)
    archs = [a for a in some_archs(net.space, 10) if any(block.skip for block in a.blocks)]
    for arch in archs:
        scores.clear()
        net(images, arch)
        together = [choose(*each) for each in scores]
        for i, image in enumerate(images):
            scores.clear()
            net(image[None], arch)
            for alone, all_of_them in zip(scores, together, strict=True):
                assert torch.equal(choose(*alone)[0], all_of_them[i])


@pytest.mark.parametrize("selector", ["map", "cls"])
def test_the_choice_passes_no_gradient(selector):
    net = build_supernet("class token")
    net(images_for(net), first(OWN, skip(selector=selector))).sum().backward()
    assert all(parameter.grad is None for parameter in net.selectors.parameters())
    assert net.blocks[0].attn.qkv.weight.grad is not None
