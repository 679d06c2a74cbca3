"""Subnets for timm: `timm.create_model("tokennas_vit", arch="arch.yaml", checkpoint_path=...)`.

Exported folders load by `timm.create_model("local-dir:FOLDER", pretrained=True)`, and once
uploaded by `hf-hub:USER/NAME`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from timm.models import generate_default_cfgs, load_pretrained, register_model

from space.arch_file import parse_arch
from space.utils.errors import InputError
from supernet.models.elastic import ElasticViT
from supernet.models.subnet import create_subnet

default_cfgs = generate_default_cfgs({"tokennas_vit": {"url": "", "classifier": "head"}})


# Sources from which timm loads config and weights together.
PLACES = ("local-dir", "hf-hub")


@register_model
def tokennas_vit(
    pretrained: bool = False,
    arch: str | Path | Mapping[str, Any] | None = None,
    num_classes: int | None = None,
    **kwargs: Any,
) -> ElasticViT:
    """Create the subnet of an arch file.

    Args:
        pretrained: Whether to load the weights of the exported folder that is the model's name;
            refused for others, which take timm's `checkpoint_path`.
        arch: Path or content of an arch file.
        num_classes: Number of classes; the head is reset if it differs from the file's.
        kwargs: More arguments for the backbone.

    Raises:
        InputError: No arch is given, or the subnet cannot be built.
    """
    # timm passes arguments that were not given as None.
    given = {key: value for key, value in kwargs.items() if value is not None}
    place: Any = given.get("pretrained_cfg")
    exported = isinstance(place, dict) and place.get("source") in PLACES
    if exported:
        for key in ("pretrained_cfg", "pretrained_model_args", "cache_dir"):
            given.pop(key, None)
    elif pretrained:
        raise InputError("tokennas_vit has no pretrained weights; give checkpoint_path=FILE")
    if not isinstance(arch, str | Path | Mapping):
        raise InputError("tokennas_vit needs arch=FILE, an arch file")
    subnet: Any = create_subnet(
        parse_arch(arch, "model_args.arch") if isinstance(arch, Mapping) else arch, **given
    )
    if exported:
        subnet.pretrained_cfg = subnet.default_cfg = {**subnet.default_cfg, **place}
    if pretrained:
        load_pretrained(subnet, place, subnet.num_classes, subnet.in_chans)
    if num_classes is not None and num_classes != subnet.num_classes:
        subnet.reset_classifier(num_classes)
    return subnet  # type: ignore[no-any-return]
