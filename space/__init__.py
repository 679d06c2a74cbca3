"""What can be chosen, which choices are allowed, and what they cost. No torch in here."""

from typing import TYPE_CHECKING, Any

from space.arch import Arch, BlockArch, Pool
from space.baselines import Baseline, baselines
from space.cost import macs, params, token_counts
from space.encoding import Genes
from space.errors import InputError
from space.files import ArchFile, load_arch, load_arch_file, save_arch
from space.shape import BackboneShape, Part

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
    # It needs numpy, for which a command that does not draw archs must not wait.
    if name == "SearchSpace":
        from space.space import SearchSpace  # noqa: PLC0415

        return SearchSpace
    raise AttributeError(f"module 'space' has no attribute {name!r}")
