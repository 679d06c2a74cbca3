"""Quantities as text: 0.8G, 3.5 hours."""

from __future__ import annotations

SCALES = {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}


def quantity(value: float, digits: int = 4) -> str:
    """Format a number to `digits` significant digits: 0.8G, 12M, 3.1."""
    for suffix in ("T", "G", "M", "k"):
        if abs(value) >= SCALES[suffix]:
            return f"{value / SCALES[suffix]:.{digits}g}{suffix}"
    return f"{value:.{digits}g}"


def duration(seconds: float) -> str:
    """Format seconds in the largest fitting unit: 3.5 hours."""
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= size * 1.5:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} seconds"
