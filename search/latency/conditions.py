"""The conditions of latency measurements. No import of torch: tables are read without it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from importlib.metadata import version
from typing import Literal, get_args

from space.utils.errors import InputError, check_one_of, shown

Precision = Literal["float32", "bfloat16", "float16"]


def _libraries() -> str:
    return ", ".join(f"{name} {version(name)}" for name in ("torch", "timm"))


@dataclass(frozen=True)
class Conditions:
    """Conditions of latency measurements, comparable if all but the versions are equal.

    Args:
        device: Name such as `NVIDIA H100 80GB HBM3` or `AMD EPYC, 2 threads`.
        batch: Batch size.
        dtype: Type of weights and images.
        compiled: Whether `torch.compile` was used.
        libraries: Versions of torch and timm.
    """

    device: str
    batch: int
    dtype: Precision
    compiled: bool
    libraries: str = field(default_factory=_libraries)

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise InputError(f"batch: must be at least 1, got {shown(self.batch)}")
        check_one_of("dtype", self.dtype, get_args(Precision))

    def like(self, other: Conditions) -> bool:
        """Return whether latencies are comparable: all is equal except versions."""
        return replace(self, libraries=other.libraries) == other

    def __str__(self) -> str:
        mode = "compiled" if self.compiled else "eager"
        return f"{self.device}, batch {self.batch}, {self.dtype}, {mode}"
