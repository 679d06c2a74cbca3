"""The same on a CUDA device."""

import pytest
import torch
from dense_toys import SECTIONS, dense_images, dense_supernet, dense_task, depth_maps, label_maps
from supernet_toys import (
    ARCHS_WITH_ALL,
    OWN,
    build_supernet,
    close,
    first,
    images_for,
    skip,
    some_archs,
)
from torch.nn import functional as F

from supernet import extract
from supernet.models.prefixes import PrefixEvaluator
from supernet.operators import skipping
from supernet.operators.pooling import adaptive_max
from supernet.operators.selection import choose

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


@pytest.mark.parametrize("name", ["class token", "average pooling", "registers", "distilled"])
def test_logits_are_those_of_the_cpu(name):
    net = build_supernet(name).requires_grad_(False)
    images, archs = images_for(net), some_archs(net.space, 20)
    expected = [net(images, arch) for arch in archs]
    net.cuda()
    for arch, logits in zip(archs, expected, strict=True):
        close(net(images.cuda(), arch).cpu(), logits)
        close(extract(net, arch)(images.cuda()).cpu(), logits)


def test_ties_go_to_the_lower_index():
    scores = torch.randint(0, 5, (64, 1000), generator=torch.Generator().manual_seed(0)).float()
    for k in (1, 100, 500, 999):
        order = scores.sort(dim=1, descending=True, stable=True).indices
        expected = order[:, :k].sort(dim=1).values
        assert torch.equal(choose(scores, k), expected)
        assert torch.equal(choose(scores.cuda(), k).cpu(), expected)


def test_adaptive_maximum_is_that_of_torch():
    x = torch.randn(2, 5, 14, generator=torch.Generator().manual_seed(0)).cuda()
    for size in range(1, 15):
        assert torch.equal(adaptive_max(x, 2, size), F.adaptive_max_pool1d(x, size))


@pytest.mark.parametrize("selector", ["map", "cls"])
def test_importance_is_single_precision_under_autocast(monkeypatch, selector):
    net, seen = build_supernet("class token", torch.float32).cuda(), []
    monkeypatch.setattr(
        skipping, "choose", lambda scores, k: (seen.append(scores), choose(scores, k))[1]
    )
    with torch.autocast("cuda", torch.bfloat16):
        net(images_for(net, dtype=torch.float32).cuda(), first(OWN, skip(selector=selector)))
    assert [scores.dtype for scores in seen] == [torch.float32]
    assert (seen[0] != seen[0].bfloat16()).any()


@pytest.mark.parametrize("place", range(3))
def test_compiled_code_gives_the_same_logits(place):
    net = build_supernet("class token", torch.float32).cuda().requires_grad_(False)
    subnet = extract(net, ARCHS_WITH_ALL[place])
    images = images_for(net, 3, dtype=torch.float32).cuda()
    close(torch.compile(subnet, fullgraph=True)(images), subnet(images), 1e-4)


@torch.inference_mode()
def test_archs_that_share_openings_have_the_same_logits():
    net = build_supernet("class token", torch.float32).cuda()
    images, archs = images_for(net, 3, dtype=torch.float32).cuda(), some_archs(net.space, 20)
    openings = PrefixEvaluator(net)
    with torch.autocast("cuda", torch.bfloat16):
        for arch in openings.expect(archs):
            assert torch.equal(openings.network(arch)(images), net(images, arch))


@pytest.mark.parametrize("section", SECTIONS)
def test_maps_and_their_statistics_are_those_of_the_cpu(section):
    net, task, images = dense_supernet(section).double().eval(), dense_task(section), dense_images()
    targets = label_maps() if section == "segmentation" else depth_maps()
    for arch in (net.space.largest(), net.space.smallest()):
        output = net.cpu()(images.double(), arch)
        found = net.cuda()(images.double().cuda(), arch)
        close(found.cpu(), output)
        close(task.loss(found, targets.cuda()).cpu(), task.loss(output, targets))
        statistics = task.statistics(found, targets.cuda(), found)
        for name, expected in task.statistics(output, targets, output).items():
            torch.testing.assert_close(statistics[name].cpu(), expected, rtol=1e-9, atol=1e-9)
