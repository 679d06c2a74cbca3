"""The supernet: one set of weights for every arch of a space."""

from __future__ import annotations

from dataclasses import fields, replace
from functools import lru_cache
from weakref import ref

from timm.models.deit import VisionTransformerDistilled
from timm.models.vision_transformer import VisionTransformer

from space.arch import Arch
from space.shape import BackboneShape
from space.space import SearchSpace
from space.utils.errors import InputError
from supernet.backbones.vit import backbone_shape
from supernet.models.elastic import DISTILLED, ElasticViT
from supernet.models.plan import Step


class Supernet(ElasticViT):
    """Weights for all archs of a space, run as `supernet(images, arch)`.

    Its parameters are the backbone's own, under timm's names, and `pools.*` and `selectors.*`.
    With the full arch its logits are those of the backbone.

    Args:
        backbone: a timm VisionTransformer; its parameters are shared, not copied.
        space: what may be chosen; of the same shape.

    Raises:
        InputError: the backbone cannot be served, or the space belongs to another shape.
    """

    space: SearchSpace

    def __init__(self, backbone: VisionTransformer, space: SearchSpace) -> None:
        shape = backbone_shape(backbone)
        check_shape(shape, space.shape, "the space")
        super().__init__(backbone, shape, space.graph.choices())
        self.space = space

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """timm's; `shape` and `space` take the costs of the new head."""
        super().reset_classifier(num_classes, global_pool)
        self.space = replace(self.space, shape=self.shape)

    def steps(self, arch: Arch | None = None) -> tuple[Step, ...]:
        """The plan of `arch`, which must be in the space."""
        return super().steps(arch and canonical(self.space, arch))


class DistilledSupernet(Supernet, VisionTransformerDistilled):
    """The same over a backbone with a distillation token and two heads."""


DISTILLED[Supernet] = DistilledSupernet


def canonical(space: SearchSpace, arch: Arch) -> Arch:
    """The canonical form of an arch of the space.

    Raises:
        InputError: the arch is not in the space.
    """
    return _canonical(ref(space), arch)


# By a weak reference: a space, with its graph and sums, is not to outlive its supernet here.
@lru_cache(maxsize=4096)
def _canonical(space: ref[SearchSpace], arch: Arch) -> Arch:
    alive = space()
    assert alive is not None
    reasons = alive.violations(arch)
    if reasons:
        raise InputError(f"the arch is not in the space: {'; '.join(reasons)}")
    return alive.canonical(arch)


def check_shape(found: BackboneShape, wanted: BackboneShape, whose: str) -> None:
    """Refuse a backbone of another shape, naming what differs.

    Raises:
        InputError: the shapes differ.
    """
    differing = [
        f"{field.name} {getattr(found, field.name)} instead of {getattr(wanted, field.name)}"
        for field in fields(found)
        if getattr(found, field.name) != getattr(wanted, field.name)
    ]
    if differing:
        raise InputError(f"the backbone is not the one of {whose}: {'; '.join(differing)}")
