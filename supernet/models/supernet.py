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
from supernet.backbones.dense_head import DenseHead
from supernet.backbones.vit import backbone_shape
from supernet.models.elastic import DISTILLED, ElasticViT
from supernet.models.plan import Step


class Supernet(ElasticViT):
    """One set of weights for all archs of a space, run as `supernet(images, arch)`.

    Its parameters are the backbone's, under timm's names, and `pools.*` and `selectors.*`. With the
    full arch its logits equal the backbone's.

    Args:
        backbone: A timm VisionTransformer; its parameters are shared, not copied.
        space: A search space of the backbone's shape.

    Raises:
        InputError: The backbone is not supported, the space has another shape, or its head reads a
            token grid that some archs lack.
    """

    space: SearchSpace

    def __init__(self, backbone: VisionTransformer, space: SearchSpace) -> None:
        shape = backbone_shape(backbone)
        check_shape(shape, space.shape, "the space")
        super().__init__(backbone, shape, space.graph.list_choices())
        self.space = space
        self._check_grids()

    def update_head_cost(self) -> None:
        """Update `shape` and `space` after the head was replaced."""
        super().update_head_cost()
        self.space = replace(self.space, shape=self.shape)
        self._check_grids()

    def steps(self, arch: Arch | None = None) -> tuple[Step, ...]:
        """Return the plan of `arch`, which must be in the space."""
        return super().steps(arch and canonical(self.space, arch))

    def _check_grids(self) -> None:
        """Refuse a dense head over a space with archs that lose the grid which it reads.

        Raises:
            InputError: Some archs do.
        """
        ends = self.space.graph.levels[-1]
        if isinstance(self.head, DenseHead) and any(each.tokens.grid is None for each in ends):
            raise InputError(
                "the head reads a token grid, which archs with 1-D pooling lack: make the space "
                "with Rules(keep_2d=True), the rules of dense tasks"
            )


class DistilledSupernet(Supernet, VisionTransformerDistilled):
    """A `Supernet` over a backbone with a distillation token and two heads."""


DISTILLED[Supernet] = DistilledSupernet


def canonical(space: SearchSpace, arch: Arch) -> Arch:
    """Return the canonical form of an arch of the space.

    Raises:
        InputError: The arch is not in the space.
    """
    return _canonical(ref(space), arch)


# By a weak reference, so that the cache does not keep a space and its graph alive.
@lru_cache(maxsize=4096)
def _canonical(space: ref[SearchSpace], arch: Arch) -> Arch:
    target = space()
    assert target is not None
    reasons = target.violations(arch)
    if reasons:
        raise InputError(f"the arch is not in the space: {'; '.join(reasons)}")
    return target.canonical(arch)


def check_shape(actual: BackboneShape, expected: BackboneShape, source: str) -> None:
    """Refuse a backbone of another shape than `source` has; the error names the differences.

    Raises:
        InputError: The shapes differ.
    """
    differing = [
        f"{field.name} {getattr(actual, field.name)} instead of {getattr(expected, field.name)}"
        for field in fields(actual)
        if getattr(actual, field.name) != getattr(expected, field.name)
    ]
    if differing:
        raise InputError(f"the backbone is not the one of {source}: {'; '.join(differing)}")
