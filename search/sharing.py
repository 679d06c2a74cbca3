"""Evaluations that share work with each other: what archs begin with is run once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import Any, Protocol, runtime_checkable

from search.record import Job
from space.arch import Arch


@runtime_checkable
class Sharing(Protocol):
    """What evaluates archs, and is quicker where it knows which ones come next."""

    def __call__(self, arch: Arch) -> Mapping[str, float]:
        """Metrics by name."""

    def expect(self, archs: Sequence[Arch]) -> Sequence[Arch]:
        """Be told what comes next; gives the order in which it is quickest."""


def shares(make_evaluate: object) -> bool:
    """Whether what is made shares work between evaluations, as far as its maker says."""
    return getattr(make_evaluate, "shares", False) is True


def alike(one: Arch, other: Arch | None) -> int:
    """Blocks that two archs begin with alike."""
    pairs = zip(one.blocks, other.blocks, strict=True) if other else ()
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def in_order(evaluate: Any, jobs: Sequence[Job]) -> list[Job]:
    """Jobs in the order that suits what evaluates, which is told of them."""
    if not isinstance(evaluate, Sharing):
        return list(jobs)
    by_arch = {job.arch: job for job in jobs}
    return [by_arch[arch] for arch in evaluate.expect(list(by_arch))]
