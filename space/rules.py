"""The rules of a space: what all its archs must keep, whichever operators they use."""

from __future__ import annotations

from dataclasses import dataclass, fields

from space.state import Tokens
from space.utils.reader import Reader

RULES = "rules"  # the key of its section


@dataclass(frozen=True)
class Rules:
    """What every arch of a space must keep: the `space.rules` section of a config.

    Tokens that are removed never come back, so each choice is tested where it is made.

    Args:
        keep_grid: Whether each patch keeps a token of its own to the end: tokens may bypass
            blocks, but none is removed.
        keep_2d: Whether the tokens form a 2-D grid to the end, of any size, which the heads of
            dense tasks read.
    """

    keep_grid: bool = False
    keep_2d: bool = False

    def __bool__(self) -> bool:
        return self.keep_grid or self.keep_2d

    def __or__(self, other: Rules) -> Rules:
        """Return the rules of both."""
        return Rules(**dict.fromkeys((*self.names, *other.names), True))

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the rules that hold."""
        return tuple(each.name for each in fields(self) if getattr(self, each.name))

    def violation(self, before: Tokens, after: Tokens) -> str | None:
        """Return what a choice does that a rule forbids, or None.

        Args:
            before: The tokens before an operator.
            after: The tokens after it.
        """
        if self.keep_grid and after.patches < before.patches:
            return f"leaves {after.patches} of {before.patches} patch tokens (rules.keep_grid)"
        if self and before.grid is not None and after.grid is None:
            if self.keep_grid:
                return "leaves no token grid (rules.keep_grid)"
            return "leaves no token grid, which the head of a dense task reads (rules.keep_2d)"
        return None

    def to_dict(self) -> dict[str, bool]:
        """Return the section of a config; empty without rules."""
        return dict.fromkeys(self.names, True)

    @classmethod
    def read(cls, section: Reader) -> Rules:
        """Read the section of a config."""
        entries = section.mapping(**dict.fromkeys((each.name for each in fields(cls)), False))
        return cls(**{name: each.flag() for name, each in entries.items()})


NO_RULES = Rules()
