"""The config of a run: one typed tree, read from YAML and from the command line."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from supernet.data import DataConfig
from supernet.pretrained import BackboneConfig
from supernet.training import SupernetRecipe


@dataclass(frozen=True)
class SupernetConfig(SupernetRecipe):
    """How the supernet is trained.

    Args:
        teacher: a network to distil from, on the same images; none for no teacher.
    """

    teacher: BackboneConfig | None = None


@dataclass(frozen=True)
class Config:
    """A run: a backbone, data, and the stages that find networks inside a budget.

    Args:
        run: folder of the run; by default runs/ and the config's name.
        seed: of everything random.
        device: `cpu`, `cuda`, `cuda:1`, ...; `auto` takes a GPU where there is one.
        backbone: the Vision Transformer to start from.
        data: data set, augmentation, splits.
        space: what may be chosen at which blocks: `pool`, `share`, `skip`.
        supernet: how the supernet is trained.
    """

    run: str | None = None
    seed: int = 0
    device: str = "auto"
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    data: DataConfig = field(default_factory=DataConfig)
    space: dict[str, Any] = field(default_factory=dict)
    supernet: SupernetConfig = field(default_factory=SupernetConfig)
