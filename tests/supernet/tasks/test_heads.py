"""Heads of dense tasks: what they compute, on which backbones, and what is refused."""

import pytest
import torch
from dense_toys import SIZE, dense_backbone, dense_images, dense_task, plain_network
from supernet_toys import BACKBONES, build, close, images_for, randomise
from torch.nn import functional as F

from space import InputError
from supernet.backbones.dense_head import Features
from supernet.tasks import heads
from supernet.tasks.heads import HeadOptions, resize

SMALL_DPT = {"name": "dpt", "channels": [4, 4, 8, 8], "fusion": 8}


def depth(head, **values):
    return dense_task({"name": "depth", "head": head, **values})


def headed(head, backbone=None, **values):
    """A backbone with a head whose weights, running statistics too, all do something."""
    backbone = backbone or dense_backbone().double()
    depth(head, **values).reset_head(backbone, 0)
    randomise(backbone.head)
    for name, buffer in backbone.head.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(generator=torch.Generator().manual_seed(1))
    return backbone.eval()


def features_by_timm(backbone, images, norm=True):
    """What a head reads, by timm's `forward_intermediates`."""
    found = backbone.forward_intermediates(
        images,
        list(backbone.head.blocks),
        return_prefix_tokens=True,
        norm=norm,
        intermediates_only=True,
    )
    empty = images.new_zeros(len(images), 0, backbone.embed_dim)
    pairs = found if isinstance(found[0], tuple) else [(each, empty) for each in found]
    if not norm:
        return [Features(*pair) for pair in pairs]
    # Average pooling has the norm behind it, which timm's intermediates then lack.
    normed = backbone.fc_norm
    return [Features(normed(x.movedim(1, -1)).movedim(-1, 1), normed(y)) for x, y in pairs]


@pytest.mark.parametrize("options", [{}, {"cls": False}, {"batch_norm": True}], ids=str)
@pytest.mark.parametrize("blocks", [[3], [0, 1, 3]])
def test_the_linear_head_computes_what_dinov2_does_in_its_order(options, blocks):
    backbone = headed({"blocks": blocks, **options})
    head, images = backbone.head, dense_images().double()
    features = features_by_timm(backbone, images)
    parts = []
    for patches, prefix in features:
        joined = [patches]
        if options.get("cls", True):
            joined.append(prefix[:, 0, :, None, None].expand_as(patches))
        larger = torch.cat(joined, dim=1)
        size = [4 * side for side in patches.shape[2:]]
        parts.append(F.interpolate(larger, size, mode="bilinear", align_corners=False))
    weights = head.linear(head.norm(torch.cat(parts, dim=1)))
    close(head.decode(features), weights)
    # As its `depth_pred` with uniform bins and linear normalisation.
    shares = weights.relu() + 0.1
    shares = shares / shares.sum(dim=1, keepdim=True)
    bins = torch.linspace(1e-3, 10, 256, dtype=torch.float64)
    expected = torch.einsum("bkhw,k->bhw", shares, bins)
    # Bins are made in float32, as there.
    close(head(features)[:, 0], expected, 1e-6)


@pytest.mark.parametrize("head", [{}, {"blocks": [5], "cls": False}, SMALL_DPT], ids=str)
@pytest.mark.parametrize("name", BACKBONES)
def test_the_full_arch_is_the_timm_backbone_under_the_same_head(name, head):
    """Also where it has registers, no class token, a distilled one, or other norms."""
    backbone = headed(head, build(name))
    images = images_for(backbone)
    expected = backbone.head(features_by_timm(backbone, images))
    close(plain_network(backbone)(images), expected)
    factor, grid = (8, 2) if head == SMALL_DPT else (4, 1)
    sides = [factor * -(-side // grid) * grid for side in backbone.patch_embed.grid_size]
    assert expected.shape == (2, 1, *sides)
    assert expected.std() > 0


@pytest.mark.parametrize("name", ["attention pooling", "average and maximum", "distilled"])
def test_what_only_timms_head_used_is_taken_off(name):
    backbone = headed({}, build(name))
    assert getattr(backbone, "attn_pool", None) is None
    assert not list(getattr(backbone, "head_dist", torch.nn.Identity()).parameters())
    assert backbone.num_classes == 0
    network = plain_network(backbone)
    network(images_for(backbone)).sum().backward()
    idle = [name for name, each in network.named_parameters() if each.grad is None]
    assert idle == []


@pytest.mark.parametrize("head", [{}, SMALL_DPT], ids=["linear", "dpt"])
def test_the_class_token_is_joined_where_there_is_one(head):
    images = dense_images().double()
    for cls, tokens in ((True, True), (False, True), (True, False)):
        backbone = dense_backbone(class_token=tokens, reg_tokens=2, global_pool="avg").double()
        backbone = headed({**head, "cls": cls}, backbone)
        features = features_by_timm(backbone, images)
        before = backbone.head(features)

        def moved(features, i):
            """With another prefix token i."""
            prefix = features.prefix.clone()
            prefix[:, i] += 1
            return features._replace(prefix=prefix)

        first = backbone.head([moved(each, 0) for each in features])
        assert torch.equal(first, before) is not (cls and tokens)
        # Registers are never read.
        assert torch.equal(backbone.head([moved(each, -1) for each in features]), before)
        assert backbone.head.options.cls is (cls and tokens)


def test_pooled_features_are_resized_to_the_full_grid():
    backbone = headed({"blocks": [1, 3]})
    full, pooled = features_by_timm(backbone, dense_images().double())
    small = pooled._replace(patches=F.adaptive_avg_pool2d(pooled.patches, (2, 3)))
    found = backbone.head([full, small])
    assert found.shape == (4, 1, *SIZE)
    larger = F.interpolate(small.patches, (4, 6), mode="bilinear", align_corners=False)
    assert torch.equal(found, backbone.head([full, small._replace(patches=larger)]))
    x = torch.randn(1, 2, 4, 6)
    assert resize(x, (4, 6)) is x


@pytest.mark.parametrize("size", [(20, 28), (12, 16), (4, 4)])
def test_dpt_rounds_odd_grids_up_and_learns_there(size):
    network = plain_network(headed(SMALL_DPT, dense_backbone(img_size=size).double())).train()
    images = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0)).double()
    output = network(images)
    rounded = [8 * (side // 4 + side // 4 % 2) for side in size]
    assert output.shape == (2, 1, *rounded)
    output.sum().backward()
    assert all(each.grad is not None for each in network.parameters())
    assert network.patch_embed.proj.weight.grad.abs().sum() > 0


def test_dpt_is_the_one_of_segmentation_models_pytorch():
    """Whole, on a backbone that it can serve itself: patches of 16 pixels, an even grid."""
    smp = pytest.importorskip("segmentation_models_pytorch")
    other = smp.DPT(
        "tu-vit_tiny_patch16_224",
        encoder_weights=None,
        decoder_intermediate_channels=(4, 4, 8, 8),
        decoder_fusion_channels=8,
        classes=5,
        img_size=64,
    )
    other = randomise(other).double().eval()
    backbone, images = other.encoder.model, torch.randn(2, 3, 64, 64, dtype=torch.float64)
    expected = other(images)
    task = dense_task(
        {"name": "segmentation", "classes": 5, "head": {**SMALL_DPT, "batch_norm": True}}
    )
    task.reset_head(backbone, 0)
    head = backbone.head.eval()
    head.decoder.load_state_dict(other.decoder.state_dict())
    layers = {f"head.{name}": each for name, each in head.layers.state_dict().items()}
    assert layers.keys() == other.segmentation_head.state_dict().keys()
    head.layers.load_state_dict(other.segmentation_head.head.state_dict())
    # It reads tokens before the norm, and doubles the map in the end.
    found = head(features_by_timm(backbone, images, norm=False))
    larger = F.interpolate(found, scale_factor=2.0, mode="bilinear", align_corners=True)
    close(larger, expected)


@pytest.mark.parametrize(
    ("count", "blocks"),
    [(12, (2, 5, 8, 11)), (24, (5, 11, 17, 23)), (5, (0, 1, 2, 4)), (3, (0, 1, 2)), (1, (0,))],
)
def test_four_blocks_are_read_unless_told_otherwise(count, blocks):
    backbone = dense_backbone(depth=count)
    assert HeadOptions().resolve(backbone).blocks == blocks
    # What is told and is the same anyway is no other head.
    depth({}).reset_head(backbone, 0)
    assert depth({"blocks": list(blocks), "cls": True}).fits(backbone)
    assert depth({"blocks": [count - 1]}).fits(backbone) is (count == 1)


@pytest.mark.parametrize(
    "other",
    [
        {"head": {"cls": False}},
        {"head": {"batch_norm": True}},
        {"head": {"blocks": [3]}},
        {"head": {"name": "dpt"}},
        {"max_depth": 80.0},
        {"output": "log"},
    ],
    ids=str,
)
def test_another_head_does_not_fit(other):
    backbone = dense_backbone(depth({}))
    assert depth({}).fits(backbone)
    assert not dense_task({"name": "depth", **other}).fits(backbone)
    assert not dense_task("segmentation").fits(backbone)


def test_without_a_class_token_it_does_not_matter_whether_to_join_it():
    backbone = dense_backbone(class_token=False, global_pool="avg")
    depth({}).reset_head(backbone, 0)
    assert depth({"cls": False}).fits(backbone)


@pytest.mark.parametrize(
    ("head", "reason"),
    [
        ({"name": "upernet"}, r"^task.head.name: value must be one of linear, dpt, got 'upernet'"),
        ({"name": "linear", "fusion": 8}, "^task.head.fusion: the head linear has no such option$"),
        ({"channels": [1, 2, 3, 4]}, "^task.head.channels: the head linear has no such option$"),
        ({"name": "dpt", "blocks": [1, 3]}, "^task.head.blocks: dpt reads 4, got 2$"),
        (
            {"name": "dpt", "channels": [8, 8]},
            r"^task.head.channels: must be 4 numbers, got \[8, 8",
        ),
        (
            {"name": "dpt", "channels": [8, 8, 8, 0]},
            r"^task.head.channels\[3\]: must be an integer",
        ),
        (
            {"name": "dpt", "fusion": 0},
            "^task.head.fusion: must be an integer of at least 1, got 0",
        ),
        ({"blocks": []}, r"^task.head.blocks: must be a list, not empty, got \[\]$"),
        ({"blocks": [3, 1]}, r"^task.head.blocks: must ascend, got \[3, 1\]$"),
        ({"blocks": [1, 1, 3]}, r"^task.head.blocks\[1\]: 1 is listed twice$"),
        ({"blocks": 4}, "^task.head.blocks: must be a list, not empty, got 4$"),
        ({"cls": "yes"}, "^task.head.cls: must be true or false, got 'yes'$"),
        ({"clas": True}, "^task.head.clas: unknown key; did you mean 'cls'"),
        ("dpt", "^task.head: must be a mapping of name, blocks, .* got 'dpt'$"),
    ],
    ids=str,
)
def test_options_that_are_refused(head, reason):
    with pytest.raises(InputError, match=reason) as error:
        depth(head)
    assert "\n" not in str(error.value)


def test_what_the_backbone_cannot_give_is_refused_and_it_stays():
    for head, args, reason in (
        (
            {"blocks": [0, 2]},
            {},
            r"task.head.blocks: must end with the last block .* 3, got \[0, 2",
        ),
        (
            {"blocks": [2, 5]},
            {},
            r"must end with the last block of the backbone, 3, got \[2, 5\]; b",
        ),
        (SMALL_DPT, {"depth": 3}, "^task.head: dpt reads 4 blocks, the backbone has 3$"),
    ):
        backbone = dense_backbone(**args)
        before = backbone.head
        with pytest.raises(InputError, match=reason):
            depth(head).reset_head(backbone, 0)
        assert backbone.head is before
        assert backbone.num_classes == 3


def test_a_missing_package_is_told_with_the_way_to_it(monkeypatch):
    monkeypatch.setattr(heads, "find_spec", lambda name: None)
    with pytest.raises(InputError) as error:
        depth(SMALL_DPT)
    assert str(error.value) == (
        "task.head.name: dpt needs segmentation_models_pytorch, not installed here: "
        "pip install 'tokennas[dense]'"
    )
    assert depth({}).head == HeadOptions()
