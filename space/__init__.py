"""What can be chosen, which choices are allowed, and what they cost. No torch in here."""

from space.arch import Arch, BlockArch, Pool
from space.arch_file import ArchFile, load_arch, load_arch_file, save_arch
from space.baselines import Baseline, baselines
from space.cost import macs, params, token_counts
from space.genes import Genes
from space.shape import BackboneShape, Part
from space.space import SearchSpace
from space.utils.errors import InputError

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
