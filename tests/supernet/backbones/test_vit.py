"""Which backbones are served, what they measure as, and why others are not."""

import pytest
import timm
import torch
from supernet_toys import BACKBONES, PLAIN, build, supernet_of
from timm.layers.attention import Attention
from timm.models.vision_transformer import (
    DiffParallelScalingBlock,
    ParallelScalingBlock,
    ParallelThingsBlock,
    ResPostBlock,
    VisionTransformer,
)
from torch import nn

from space import InputError, Part
from supernet import Supernet, backbone_shape, check_backbone, create_backbone

TINY = {"embed_dim": 32, "depth": 1, "num_heads": 4, "num_classes": 3}


def vit(**args):
    return VisionTransformer(**{**PLAIN, **args})


def test_the_shape_of_a_plain_backbone():
    shape = backbone_shape(build("class token"))
    assert (shape.depth, shape.width, shape.heads, shape.attention_width) == (6, 32, 4, 32)
    assert (shape.grid, shape.prefix) == ((5, 5), 1)
    assert shape.query_key == Part(2 * 32 * 32, 2 * 32 * 32 + 64)
    assert shape.value_output == Part(2 * 32 * 32, 2 * (32 * 32 + 32))
    assert shape.mlp == Part(2 * 32 * 64, 2 * 32 * 64 + 64 + 32)
    assert shape.rest == Part(0, 4 * 32)
    assert shape.stem == Part(25 * 192 * 32, 192 * 32 + 32 + 26 * 32 + 32)
    assert shape.head == Part(7 * 32, 7 * 32 + 7 + 64)
    assert shape.head_per_token == 0


def test_the_shape_of_less_plain_ones():
    assert backbone_shape(build("not square")).grid == (4, 7)
    assert backbone_shape(build("registers")).prefix == 4
    assert backbone_shape(build("distilled")).prefix == 2
    assert backbone_shape(build("average pooling")).prefix == 0
    assert backbone_shape(build("gated")).attention_width == 48
    # Query and key norms go with the projections that shared attention drops.
    assert backbone_shape(build("registers")).query_key.params == 2 * (32 * 32 + 32) + 4 * 8
    # A norm before the blocks belongs to the stem, whose patch embedding then has no bias.
    assert backbone_shape(build("swiglu")).stem.params == 192 * 32 + (1 + 26) * 32 + 2 * 32
    # A pooling head reads keys and values of every patch token.
    assert backbone_shape(build("attention pooling")).head_per_token == 2 * 32 * 32 + 2 * 32
    assert backbone_shape(build("every token's logits")).head_per_token == 7 * 32


@pytest.mark.parametrize("name", BACKBONES)
def test_measuring_changes_nothing(name):
    backbone = build(name).train()
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    flags = [module.training for module in backbone.modules()]
    assert backbone_shape(backbone) == backbone_shape(backbone)
    after = backbone.state_dict()
    assert all(torch.equal(after[key], value) for key, value in before.items())
    assert [module.training for module in backbone.modules()] == flags
    assert all(value.device.type == "cpu" for value in after.values())


def test_the_shape_does_not_depend_on_dtype_device_or_frozen_parameters():
    shape = backbone_shape(build("attention pooling"))
    assert backbone_shape(build("attention pooling").half()) == shape
    assert backbone_shape(build("attention pooling").to("meta")) == shape
    assert backbone_shape(build("attention pooling").requires_grad_(False)) == shape
    with torch.no_grad():
        assert backbone_shape(build("attention pooling")) == shape


def subclassed():
    model = vit()
    model.blocks[3].attn = type("MyAttention", (Attention,), {})(32, 4)
    return model


REFUSED = {
    "resnet": (lambda: timm.create_model("resnet18", num_classes=3), "ResNet .*only timm's Vision"),
    "eva": (lambda: timm.create_model("eva02_tiny_patch14_224", **TINY), "Eva .*rotary embeddings"),
    "rope": (lambda: timm.create_model("vit_small_patch16_rope_224", **TINY), "rotary embeddings"),
    "naflex": (
        lambda: timm.create_model("naflexvit_base_patch16_gap", **TINY),
        "NaFlexVit .*only timm's VisionTransformer",
    ),
    "beit": (lambda: timm.create_model("beit_base_patch16_224", **TINY), "Beit .*only timm's Vis"),
    "parallel": (lambda: vit(block_fn=ParallelScalingBlock), r"blocks\[0\] is a ParallelScalingBl"),
    "things": (lambda: vit(block_fn=ParallelThingsBlock), r"blocks\[0\] is a ParallelThingsBlock"),
    "post-norm": (lambda: vit(block_fn=ResPostBlock), r"is a ResPostBlock, not timm's pre-norm"),
    "both": (lambda: vit(block_fn=DiffParallelScalingBlock), "is a DiffParallelScalingBlock, not"),
    "differential": (lambda: vit(attn_layer="diff"), r"blocks\[0\].attn is a DiffAttention, not"),
    "own attention": (subclassed, r"blocks\[3\].attn is a MyAttention, not timm's Attention"),
    "any size": (lambda: vit(dynamic_img_size=True), "dynamic_img_size gives no fixed token grid"),
    "dropped patches": (lambda: vit(patch_drop_rate=0.1), "patch_drop_rate drops tokens at random"),
    "prr": (lambda: vit(global_pool="prr"), "global_pool='prr'.*do not grow linearly"),
    "supernet": (lambda: supernet_of("class token"), "backbone Supernet is not supported"),
    "no blocks": (lambda: vit(depth=0), "it has no blocks"),
    "no model": (lambda: nn.Linear(2, 2), "backbone Linear is not supported"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_by_name_and_reason(name):
    make, reason = REFUSED[name]
    backbone = make()
    for refuse in (backbone_shape, lambda model: Supernet(model, supernet_of("class token").space)):
        with pytest.raises(InputError, match=reason) as error:
            refuse(backbone)
        assert "\n" not in str(error.value)
        assert "is not supported" in str(error.value)


def test_blocks_of_two_sizes_are_refused():
    wide, two_headed = vit(), vit()
    wide.blocks[2].mlp = vit(mlp_ratio=3).blocks[2].mlp
    two_headed.blocks[2].attn = vit(num_heads=2).blocks[2].attn
    for model in (wide, two_headed):
        with pytest.raises(InputError, match="its blocks are not all of one size"):
            backbone_shape(model)


class Mixing(nn.Module):
    """An MLP that compares tokens with each other: N x N products."""

    def __init__(self, in_features, **_):
        super().__init__()
        self.fc = nn.Linear(in_features, in_features)

    def forward(self, x):
        y = self.fc(x)
        return y @ y.transpose(-2, -1) @ x


def test_an_mlp_that_mixes_tokens_is_refused():
    with pytest.raises(InputError, match="the MACs of its Mixing do not grow linearly with"):
        backbone_shape(vit(mlp_layer=Mixing))


WRONG = [
    ("vit_tiny_patch16_225", {}, "timm has no model .*; did you mean 'vit_tiny_patch16_224'"),
    ("deit_tny_patch16_224", {}, "timm has no model .*; did you mean 'deit_tiny_patch16_224'"),
    ("hf-hub:timm/vit_tiny_patch16_224", {}, "timm has no model 'hf-hub:"),
    ("local-dir:here", {}, "timm has no model 'local-dir:here'"),
    (None, {}, "timm has no model None"),
    ("resnet18", {"num_classes": 3}, "backbone ResNet is not supported"),
    ("vit_tiny_patch16_224", {**TINY, "size": 3}, "cannot build .*unexpected keyword arg.*'size'"),
    ("vit_tiny_patch16_224", {**TINY, "depth": "two"}, "cannot build vit_tiny.*'depth': 'two'"),
    ("vit_tiny_patch16_224", {**TINY, "patch_size": 0}, "cannot build .*ZeroDivisionError"),
    ("vit_tiny_patch16_224", {**TINY, "norm_layer": "none"}, "cannot build .*KeyError: 'none'"),
    ("vit_tiny_patch16_224", {**TINY, "class_token": False}, "Token pooling needs the class token"),
    ("vit_tiny_patch16_224", {**TINY, "mlp_layer": "os.system"}, "'str' object is not callable"),
    ("vit_tiny_patch16_224", {1: 2}, "cannot build .*keywords must be strings"),
    ("vit_tiny_patch16_224", {"pretrained": True}, "backbone args: 'pretrained' is not allowed"),
    ("vit_tiny_patch16_224", {"checkpoint_path": "x"}, "args: 'checkpoint_path' is not allowed"),
    ("vit_tiny_patch16_224", {"pretrained_cfg": {"file": "x"}}, "'pretrained_cfg' is not allowed"),
    ("vit_tiny_patch16_224", {"features_only": True}, "backbone args: 'features_only' is not"),
    ("tokennas_vit", {"arch": "arch.yaml"}, "backbone args: 'arch' is not allowed"),
]


@pytest.mark.parametrize(("model", "args", "reason"), WRONG)
def test_what_cannot_be_built_is_one_line(model, args, reason):
    with pytest.raises(InputError, match=reason) as error:
        create_backbone(model, args)
    assert "\n" not in str(error.value)


def test_what_can_be_built():
    backbone = create_backbone("vit_tiny_patch16_224", TINY)
    check_backbone(backbone)
    assert backbone.head.out_features == 3
    tagged = create_backbone("vit_tiny_patch16_224.augreg_in21k_ft_in1k", TINY)
    assert backbone_shape(tagged) == backbone_shape(backbone)
