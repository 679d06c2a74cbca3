"""The search space: archs, validity rules and costs. Never imports torch."""

from typing import TYPE_CHECKING, Any

from space.arch import Arch, BlockArch, Pool
from space.arch_file import ArchFile, load_arch, load_arch_file, save_arch
from space.baselines import Baseline, baselines
from space.cost import macs, params, token_counts
from space.genes import Genes
from space.rules import Rules
from space.shape import BackboneShape, Part
from space.utils.errors import InputError

if TYPE_CHECKING:
    from space.space import SearchSpace

__all__ = [
    "Arch",
    "ArchFile",
    "BackboneShape",
    "Baseline",
    "BlockArch",
    "Genes",
    "InputError",
    "Part",
    "Pool",
    "Rules",
    "SearchSpace",
    "baselines",
    "load_arch",
    "load_arch_file",
    "macs",
    "params",
    "save_arch",
    "token_counts",
]


def __getattr__(name: str) -> Any:
    # Imported lazily, since it needs numpy, which few commands do.
    if name == "SearchSpace":
        from space.space import SearchSpace  # noqa: PLC0415

        return SearchSpace
    raise AttributeError(f"module 'space' has no attribute {name!r}")
