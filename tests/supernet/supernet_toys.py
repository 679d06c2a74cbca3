"""Small backbones of every kind that is served, a space with every choice, archs, images.

Weights are drawn anew, since initial ones hide what they multiply by 0 or 1 (biases, norms,
LayerScale, class tokens, pooling kernels, selectors).
"""

import copy
from functools import cache, partial

import numpy as np
import timm
import torch
from timm.layers import GluMlp, SwiGLU
from timm.layers.attention import Attention
from timm.layers.hybrid_embed import HybridEmbed
from timm.models.deit import VisionTransformerDistilled
from timm.models.vision_transformer import VisionTransformer
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from space import Arch, BlockArch, Pool, SearchSpace, save_arch
from supernet import Supernet, backbone_shape, extract, save_weights
from supernet.models import forward

WIDTH, HEADS, DEPTH, CLASSES = 32, 4, 6, 7

PLAIN = {
    "img_size": 40,
    "patch_size": 8,
    "embed_dim": WIDTH,
    "depth": DEPTH,
    "num_heads": HEADS,
    "mlp_ratio": 2,
    "num_classes": CLASSES,
}


def _vit(cls=VisionTransformer, **args):
    return lambda: cls(**{**PLAIN, **args})


def _hybrid():
    stem = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1, bias=False), nn.BatchNorm2d(6), nn.ReLU())
    embed = partial(HybridEmbed, backbone=stem)
    return VisionTransformer(**{**PLAIN, "patch_size": 4, "embed_layer": embed})


def _gated():
    """A gate, and heads that together are wider than a token: timm's models have no such option."""
    model = VisionTransformer(**PLAIN)
    for block in model.blocks:
        block.attn = Attention(
            WIDTH, HEADS, attn_head_dim=12, qkv_bias=True, gated=True, norm_layer=nn.LayerNorm
        )
    return model


BACKBONES = {
    "class token": _vit(),
    "average pooling": _vit(class_token=False, global_pool="avg", qkv_bias=False),
    "average and maximum": _vit(global_pool="avgmax", fc_norm=False, pool_include_prefix=True),
    "maximum": _vit(global_pool="max", class_token=False, reg_tokens=1, drop_rate=0.1),
    "attention pooling": _vit(global_pool="map", class_token=False),
    "attention pooling with prefix": _vit(global_pool="map", reg_tokens=2, img_size=(24, 56)),
    "registers": _vit(reg_tokens=3, qk_norm=True, init_values=0.1, no_embed_class=True),
    "distilled": _vit(VisionTransformerDistilled),
    "swiglu": _vit(mlp_layer=SwiGLU, pre_norm=True, act_layer=nn.SiLU),
    "geglu": _vit(mlp_layer=GluMlp, no_embed_class=True, scale_mlp_norm=True, proj_bias=False),
    "geglu, gate first": _vit(mlp_layer=partial(GluMlp, gate_last=False), final_norm=False),
    "scaled": _vit(scale_attn_norm=True, scale_mlp_norm=True, qk_norm=True, qkv_bias=False),
    "gated": _gated,
    "not square": _vit(img_size=(32, 56), patch_size=(8, 8), in_chans=1),
    "hybrid": _hybrid,
    "no positions": _vit(pos_embed="none", class_token=False, global_pool="avg", init_values=1),
    "every token's logits": _vit(global_pool="", class_token=False),
    "no affine norms": _vit(norm_layer=partial(nn.LayerNorm, elementwise_affine=False)),
}

# What later tests compare with a loop over tokens, or compile: one of each structure.
FEW = ["class token", "average pooling", "registers", "distilled", "gated", "not square"]

OWN, SHARED = BlockArch(), BlockArch(attention="shared")


def skip(ratio=0.5, selector="map", shared=False):
    return BlockArch(skip=ratio, selector=selector, attention="shared" if shared else "own")


def pool(kind, target):
    return BlockArch(pool=Pool(kind, grid=target) if "2d" in kind else Pool(kind, stride=target))


def first(*blocks):
    """An arch of these blocks and plain ones."""
    return Arch((*blocks, *[OWN] * (DEPTH - len(blocks))))


def half(grid):
    return tuple(-(-side // 2) for side in grid)


@cache
def full_space(shape):
    """Every kind of pooling, sharing and selecting, wherever the rules allow it."""
    once = half(shape.grid)
    grids = [(shape.grid[0], once[1]), once, half(once)]
    return SearchSpace.from_dict(
        {
            "pool": {
                "blocks": list(range(shape.depth)),
                "kinds": ["avg2d", "max2d", "conv2d", "avg1d", "max1d", "conv1d"],
                "grids": [list(grid) for grid in dict.fromkeys(grids)],
                "strides": [2],
                "max_pools": 3,
            },
            "share": {"blocks": "all", "max_run": 5},
            "skip": {
                "blocks": "all",
                "ratios": [0.25, 0.5, 0.8],
                "selectors": ["map", "cls", "random"],
                "max_run": 3,
            },
        },
        shape,
    )


def hand_made(shape):
    """Archs in which every operator stands beside every other; depth 6."""
    once = half(shape.grid)
    twice, chance = half(once), skip(0.8, "random")
    rows = (
        (OWN, skip(), skip(shared=True), skip(), OWN, SHARED),
        (OWN, skip(0.8, "cls"), skip(0.8, shared=True), skip(0.8, shared=True), OWN, skip(0.25)),
        (OWN, SHARED, SHARED, pool("avg2d", once), SHARED, SHARED),
        (pool("conv2d", once), skip(selector="cls"), OWN, skip(), pool("max2d", twice), SHARED),
        (OWN, pool("conv2d", once), SHARED, pool("conv2d", twice), pool("max1d", 2), SHARED),
        (pool("conv1d", 2), skip(0.25), skip(0.25), OWN, pool("avg1d", 2), skip()),
        (OWN, skip(), pool("avg1d", 2), skip(0.8, "cls"), skip(0.8), skip(0.8, shared=True)),
        (OWN, SHARED, OWN, SHARED, OWN, skip(0.25, "cls")),
        (OWN, chance, skip(0.8, shared=True), pool("max2d", once), chance, OWN),
    )
    return [Arch(blocks) for blocks in rows]


# Three that hold every operator between them, for what is slow.
ARCHS_WITH_ALL = [
    Arch((OWN, skip(), skip(shared=True), OWN, SHARED, pool("conv2d", (3, 3)))),
    Arch((pool("avg2d", (3, 3)), skip(selector="cls"), pool("max2d", (2, 2)), OWN, SHARED, OWN)),
    first(
        *(pool("max1d", 2), OWN, pool("avg1d", 2), SHARED, pool("conv1d", 2), skip(0.25, "random"))
    ),
]


def drawn(space, count, seed=0):
    rng = np.random.default_rng(seed)
    return [space.sample(rng) for _ in range(count)]


def some_archs(space, count, seed=0):
    """The hand-made archs and `count` drawn ones."""
    return [*hand_made(space.shape), *drawn(space, count, seed)]


def randomise(model, seed=0):
    """Draw every parameter and buffer anew, at a size that keeps activations near 1."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            spread = 1.5 / parameter[0].numel() ** 0.5 if parameter.ndim > 1 else 0.5
            centre = 1.0 if parameter.ndim == 1 and name.endswith("weight") else 0.0
            parameter.copy_(centre + spread * noise)
        for name, buffer in model.named_buffers():
            if name.endswith("running_var"):
                buffer.uniform_(0.5, 2, generator=generator)
    return model


def build(name, dtype=torch.float64):
    """A backbone of BACKBONES with random weights, to evaluate."""
    return randomise(BACKBONES[name](), len(name)).to(dtype).eval()


@cache
def supernet_of(name):
    """One for all tests that only call it; float64, weights without gradients."""
    backbone = build(name)
    net = Supernet(backbone, full_space(backbone_shape(backbone)))
    return randomise(net, len(name)).requires_grad_(False)


def build_supernet(name, dtype=torch.float64):
    """One of a test's own, to train or change."""
    return copy.deepcopy(supernet_of(name)).requires_grad_(True).to(dtype)


def images_for(model, count=2, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    size = (count, model.in_chans, *model.patch_embed.img_size)
    return torch.randn(size, generator=generator, dtype=torch.float64).to(dtype)


def watch_blocks(monkeypatch):
    """What every block is given and leaves, call by call: (tokens, maps, exposed)."""
    seen, exchange = [], forward._call_block

    def run(block, x, maps, request):
        y, exposed = exchange(block, x, maps, request)
        seen.append((x, maps, exposed))
        return y, exposed

    monkeypatch.setattr(forward, "_call_block", run)
    return seen


def close(found, expected, relative=1e-9):
    """Equal to `relative` of the largest entry."""
    torch.testing.assert_close(
        found, expected, rtol=relative, atol=relative * float(expected.detach().abs().max())
    )


def counted(model, batch=1):
    """MACs by torch's counter; gradients on, since attention pooling crashes it without."""
    model = copy.deepcopy(model).to("meta", torch.float32).requires_grad_(True)
    size = (batch, model.in_chans, *model.patch_embed.img_size)
    with FlopCounterMode(display=False) as counter:
        model(torch.zeros(size, device="meta"))
    assert counter.get_total_flops() % 2 == 0
    return counter.get_total_flops() // 2


def numel(model):
    return sum(parameter.numel() for parameter in model.parameters())


NAMED = "vit_tiny_patch16_224"
ARGS = {**PLAIN, "mlp_ratio": 2.0}
INPUT = {
    "size": [3, 40, 40],
    "mean": [0.1, 0.2, 0.3],
    "std": [0.5, 0.6, 0.7],
    "crop_pct": 0.8,
    "crop_mode": "squash",
    "interpolation": "bilinear",
}


@cache
def named_supernet(model=NAMED):
    """A supernet over a model that timm builds by name, float32."""
    backbone = randomise(timm.create_model(model, **ARGS), 1).eval()
    return randomise(Supernet(backbone, full_space(backbone_shape(backbone))), 2).eval()


def export(folder, arch, model=NAMED, **values):
    """An arch file and its weights; the subnet that they are of."""
    net = named_supernet(model)
    subnet = extract(net, arch)
    file, weights = folder / "arch.yaml", folder / "subnet.safetensors"
    values = {"backbone": {"model": model, "args": ARGS}, "input": INPUT} | values
    save_arch(subnet.arch, file, shape=net.shape, **values)
    save_weights(subnet, weights)
    return file, weights, subnet
