"""Subnets for timm: `timm.create_model("tokennas_vit", arch="arch.yaml", checkpoint_path=...)`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from timm.models import generate_default_cfgs, register_model

from space.errors import InputError
from supernet.elastic import ElasticViT
from supernet.extraction import create_subnet

default_cfgs = generate_default_cfgs({"tokennas_vit": {"url": "", "classifier": "head"}})


@register_model
def tokennas_vit(
    pretrained: bool = False,
    arch: str | Path | None = None,
    num_classes: int | None = None,
    **kwargs: Any,
) -> ElasticViT:
    """The subnet of an arch file.

    Args:
        pretrained: refused; give timm's `checkpoint_path`.
        arch: the arch file.
        num_classes: resets the head where it differs from the file's.
        kwargs: more arguments for the backbone.

    Raises:
        InputError: no arch is given, or it cannot be built.
    """
    if pretrained:
        raise InputError("tokennas_vit has no pretrained weights; give checkpoint_path=FILE")
    if arch is None:
        raise InputError("tokennas_vit needs arch=FILE, an arch file")
    # timm names all that it was not given, as None.
    given = {key: value for key, value in kwargs.items() if value is not None}
    subnet = create_subnet(arch, **given)
    if num_classes is not None and num_classes != subnet.num_classes:
        subnet.reset_classifier(num_classes)
    return subnet
