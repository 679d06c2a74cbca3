"""Subnets for timm: `timm.create_model("tokennas_vit", arch="arch.yaml", checkpoint_path=...)`.

Exported folders load by `timm.create_model("local-dir:FOLDER", pretrained=True)`, and once
uploaded by `hf-hub:USER/NAME`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from timm.models import generate_default_cfgs, load_pretrained, register_model
from timm.models._builder import pretrained_cfg_for_features
from timm.models._features import FeatureGetterNet, feature_take_indices

from space.arch_file import ArchFile, parse_arch
from space.utils.errors import InputError
from supernet.models.elastic import ElasticViT
from supernet.models.subnet import create_subnet, timm_input

default_cfgs = generate_default_cfgs({"tokennas_vit": {"url": "", "classifier": "head"}})

# Sources from which timm loads config and weights together.
SOURCES = ("local-dir", "hf-hub")
# Preprocessing keys of timm's config.
PREPROCESSING = ("input_size", "mean", "std", "crop_pct", "crop_mode", "interpolation")


@register_model
def tokennas_vit(
    pretrained: bool = False,
    arch: str | Path | Mapping[str, Any] | None = None,
    num_classes: int | None = None,
    *,
    weights: str | Path | None = None,
    features_only: bool = False,
    out_indices: int | Sequence[int] = 3,
    **kwargs: Any,
) -> ElasticViT | FeatureGetterNet:
    """Create the subnet of an arch file; timm calls it by `create_model`.

    Args:
        pretrained: Whether to load weights too, which only models named by their exported folder
            have (`local-dir:`, `hf-hub:`); for others, give timm's `checkpoint_path`.
        arch: Path or content of an arch file.
        num_classes: Number of classes; the head is reset if it differs from the file's.
        weights: A safetensors file of the subnet, as in `create_subnet`; also where timm's
            `checkpoint_path` cannot be given, for `features_only` and inside other libraries.
        features_only: Whether to return timm's `FeatureGetterNet` over the subnet without its head.
        out_indices: Blocks whose features that returns, or how many of the last.
        kwargs: More arguments for the backbone.

    Raises:
        InputError: No arch is given, or the subnet cannot be built.
    """
    # timm passes None for arguments that the caller left out.
    backbone_args = {key: value for key, value in kwargs.items() if value is not None}
    cfg: Any = backbone_args.get("pretrained_cfg")
    exported = isinstance(cfg, dict) and cfg.get("source") in SOURCES
    if exported:
        for key in ("pretrained_cfg", "pretrained_model_args", "cache_dir"):
            backbone_args.pop(key, None)
    elif pretrained:
        raise InputError("tokennas_vit has no pretrained weights; give checkpoint_path=FILE")
    if not isinstance(arch, str | Path | Mapping):
        raise InputError("tokennas_vit needs arch=FILE, an arch file")
    file = parse_arch(arch, "model_args.arch") if isinstance(arch, Mapping) else arch
    subnet: Any = create_subnet(file, weights, **backbone_args)
    if exported:
        subnet.pretrained_cfg = subnet.default_cfg = {**subnet.default_cfg, **cfg}
    if pretrained:
        load_pretrained(subnet, cfg, subnet.num_classes, subnet.in_chans)
    if num_classes is not None and num_classes != subnet.num_classes:
        subnet.reset_classifier(num_classes)
    return _make_feature_net(subnet, out_indices) if features_only else subnet


def _make_feature_net(subnet: Any, out_indices: int | Sequence[int]) -> FeatureGetterNet:
    """Make timm's network of the features after some blocks, as its `build_model_with_cfg` does.

    Raises:
        InputError: A 1-D pooling leaves no grid for the features of a block.
    """
    given = out_indices if isinstance(out_indices, int) else list(out_indices)
    indices, _ = feature_take_indices(len(subnet.blocks), given)
    for i in indices:
        if subnet.steps()[i].after.grid is None:
            raise InputError(
                f"features_only: features are maps, and a 1-D pooling leaves no grid after block "
                f"{i}; take the tokens from forward_intermediates"
            )
    net: Any = FeatureGetterNet(subnet, tuple(indices))
    net.in_chans = subnet.in_chans
    net.pretrained_cfg = net.default_cfg = pretrained_cfg_for_features(subnet.pretrained_cfg)
    return net  # type: ignore[no-any-return]


def hub_config(subnet: ElasticViT, file: ArchFile) -> dict[str, Any]:
    """Make timm's `config.json` of a subnet: arch, classes and preprocessing."""
    cfg: Any = subnet.pretrained_cfg
    # Metrics and origin are in `arch.yaml` alone; the classes, where no task reads them, are
    # `label_names` alone.
    classes = file.classes if file.task else []
    arch = replace(file, classes=classes, metrics={}, origin={}).to_dict()
    return {
        "architecture": "tokennas_vit",
        "num_classes": subnet.num_classes,
        "num_features": subnet.num_features,
        **({"label_names": list(file.classes)} if file.classes else {}),
        "model_args": {"arch": arch},
        "pretrained_cfg": {
            **{key: cfg[key] for key in PREPROCESSING if key in cfg},
            **timm_input(file),
            "fixed_input_size": True,
            "num_classes": subnet.num_classes,
            "first_conv": cfg.get("first_conv"),
            "classifier": cfg.get("classifier"),
        },
    }
