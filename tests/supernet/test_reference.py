"""The supernet against the same arch in plain loops, which share no code with it."""

import pytest
import supernet_reference as reference
import torch
from supernet_toys import BACKBONES, FEW, close, drawn, hand_made, images_for, supernet_of


@pytest.mark.parametrize("name", BACKBONES)
def test_drawn_archs(name):
    supernet = supernet_of(name)
    images = images_for(supernet)
    for arch in drawn(supernet.space, 4, seed=len(name)):
        close(supernet(images, arch), reference.forward(supernet, images, arch)[0])


@pytest.mark.parametrize("place", range(9))
@pytest.mark.parametrize("name", FEW)
def test_every_pair_of_operators_block_by_block(name, place):
    supernet = supernet_of(name)
    arch = hand_made(supernet.shape)[place]
    assert arch in supernet.space
    images = images_for(supernet, count=2)
    logits, blocks = reference.forward(supernet, images, arch)
    close(supernet(images, arch), logits)
    found = supernet.forward_intermediates(
        images, return_prefix_tokens=True, intermediates_only=True, output_fmt="NLC", arch=arch
    )
    prefix = supernet.num_prefix_tokens
    for features, (tokens, _) in zip(found, blocks, strict=True):
        patches, first = features if prefix else (features, tokens[:, :0])
        close(torch.cat([first, patches], dim=1), tokens)
