"""What a network expects of its images: the `input` of an arch file."""

from __future__ import annotations

from collections.abc import Mapping

from space.arch import is_integer, is_number
from space.errors import InputError, naming, near, shown

CHOICES = {
    "crop_mode": ("center", "squash", "border"),
    "interpolation": ("nearest", "bilinear", "bicubic", "box", "hamming", "lanczos"),
}
KEYS = ("size", "mean", "std", "crop_pct", *CHOICES)


def check_input(key: str, value: object) -> None:
    """Check an entry: size is channels, height, width; the others are timm's data configuration.

    Raises:
        InputError: an unknown key, or a value that it cannot have.
    """
    if key not in KEYS:
        hint = near(key, list(KEYS)) or f"; known are {', '.join(KEYS)}"
        raise InputError(f"unknown key{hint}")
    if not _fits(key, value):
        wanted = {
            "size": "channels, height and width",
            "crop_pct": "a number above 0",
            **{name: f"one of {', '.join(known)}" for name, known in CHOICES.items()},
        }
        raise InputError(
            f"must be {wanted.get(key, 'a number for each channel')}, got {shown(value)}"
        )


def check_inputs(values: Mapping[str, object]) -> None:
    """Check every entry.

    Raises:
        InputError: see `check_input`; the line names the key.
    """
    for key, value in values.items():
        with naming(f"input.{key}"):
            check_input(key, value)


def _fits(key: str, value: object) -> bool:
    if key in CHOICES:
        return value in CHOICES[key]
    if key == "crop_pct":
        return is_number(value) and value > 0
    if not isinstance(value, list | tuple):
        return False
    if key == "size":
        return len(value) == 3 and all(is_integer(each) and each > 0 for each in value)
    return len(value) > 0 and all(map(is_number, value))
