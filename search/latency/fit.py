"""What each term takes, from what archs take; and how well that foretells archs never measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import nnls

from search.latency.terms import count_terms
from space.arch import Arch
from space.operators.base import Term
from space.shape import BackboneShape

Array = NDArray[np.float64]

# How far a term may stray from the smooth curve of its operator, against the noise of an arch:
# with few archs a term, the curve decides; with many, what was measured.
STRAY = 0.3
NOISE = 0.02
# The full arch counts so many times: per cents of a budget refer to it.
PINNED = 30.0
TOO_FAR = (
    "That is too far off to rest a budget on: measure again with the machine to itself, "
    "with more --rounds, or with a larger --batch"
)
LARGE_MEAN, SMALL_TAU = 0.05, 0.95


@dataclass(frozen=True)
class Error:
    """How far predictions were from measurements on archs that had no part in the fit.

    Args:
        mean: of the relative errors' sizes.
        worst: the largest of them.
        kendall_tau: rank correlation of predicted and measured, 1 where the orders agree. Archs of
            the same terms at other places are predicted to be equal, and are not compared.
        archs: how many there were.
    """

    mean: float
    worst: float
    kendall_tau: float
    archs: int

    @classmethod
    def of(cls, predicted: Sequence[float], measured: Sequence[float]) -> Error:
        """Compare, arch by arch; two or more."""
        guess, truth = np.array(predicted), np.array(measured)
        sizes = np.abs(guess / truth - 1)
        return cls(float(sizes.mean()), float(sizes.max()), tau(guess, truth), len(truth))

    @property
    def large(self) -> bool:
        """Whether budgets that rest on it mean little."""
        return self.mean > LARGE_MEAN or not self.kendall_tau >= SMALL_TAU

    def __str__(self) -> str:
        return (
            f"{self.archs} archs that had no part in it: mean error {self.mean:.1%}, "
            f"worst {self.worst:.1%}, Kendall tau {self.kendall_tau:.3f}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for YAML."""
        return asdict(self)


def tau(predicted: ArrayLike, measured: ArrayLike) -> float:
    """Kendall's rank correlation over the pairs that are predicted to differ; 0 without any."""
    guess, truth = np.array(predicted, dtype=float), np.array(measured, dtype=float)
    apart = np.sign(guess[:, None] - guess) * ~np.isclose(guess[:, None], guess, rtol=1e-6)
    pairs = np.abs(apart).sum()
    return float((apart * np.sign(truth[:, None] - truth)).sum() / pairs) if pairs else 0.0


def fit(
    measured: Mapping[Arch, float], shape: BackboneShape, terms: Sequence[Term]
) -> dict[Term, float]:
    """The seconds of each term, none negative, by least squares of relative errors.

    First one curve a + b n + c n^2 over the tokens for each operator; then every term by itself,
    held near that curve as far as few archs have it.

    Args:
        measured: seconds of each arch.
        shape: the backbone that they belong to.
        terms: those to fit; all that the archs have among them.
    """
    column = {term: j for j, term in enumerate(terms)}
    counts: Array = np.zeros((len(measured), len(terms)))
    for row, arch in zip(counts, measured, strict=True):
        for term, count in count_terms(arch, shape).items():
            row[column[term]] = count
    seconds = np.array(list(measured.values()))
    weights = np.where([arch == Arch.full(shape.depth) for arch in measured], PINNED, 1.0)
    counts *= (weights / seconds)[:, None]
    curves = _curves(terms)
    smooth = curves @ nnls(counts @ curves, weights)[0]
    # A term that the curve puts at nothing may still be as large as a small part of a block.
    scale = STRAY * np.maximum(smooth, 1e-3 * seconds.max() / shape.depth)
    near, wanted = NOISE * np.diag(1 / scale), NOISE * smooth / scale
    found = nnls(np.vstack([counts, near]), np.concatenate([weights, wanted]))[0]
    return {term: float(value) for term, value in zip(terms, found, strict=True)}


def _curves(terms: Sequence[Term]) -> Array:
    """For each term (a row), 1, n and n^2 in the columns of its operator."""
    operators = sorted({term.operator for term in terms})
    most = max(max(term.tokens, 1) for term in terms)
    found: Array = np.zeros((len(terms), 3 * len(operators)))
    for row, term in zip(found, terms, strict=True):
        first = 3 * operators.index(term.operator)
        row[first : first + 3] = [1.0, term.tokens / most, (term.tokens / most) ** 2]
    return found
