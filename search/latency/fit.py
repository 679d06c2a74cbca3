"""Fit of the latency of each term to measured archs, and its error on held-out archs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import nnls

from search.latency.terms import count_terms
from space.arch import Arch
from space.operators.base import Term
from space.shape import BackboneShape

Array = NDArray[np.float64]

# Relative scales of the regularisation: deviation of a term from its operator's smooth curve, and
# noise of a measurement. Terms of few archs stay near the curve, those of many archs follow the
# measurements.
TERM_SCALE = 0.3
NOISE_SCALE = 0.02
# Factor on the residual of the full arch, whose latency is the 100% of budgets.
FULL_WEIGHT = 30.0
TOO_FAR = (
    "The error is too large for budgets: delete the table and measure again on an idle machine, "
    "with more --rounds, or with a larger --batch"
)
LARGE_MEAN, SMALL_TAU = 0.05, 0.95


@dataclass(frozen=True)
class Error:
    """Prediction errors on held-out archs.

    Args:
        mean: Mean absolute relative error.
        worst: Greatest absolute relative error.
        kendall_tau: Rank correlation of predicted and measured, 1 where the orders agree. Archs of
            the same terms in other blocks have equal predictions, and are not compared.
        archs: Number of archs.
    """

    mean: float
    worst: float
    kendall_tau: float
    archs: int

    @classmethod
    def of(cls, predicted: Sequence[float], measured: Sequence[float]) -> Error:
        """Compare predictions with measurements of the same archs, two or more."""
        guess, truth = np.array(predicted), np.array(measured)
        errors = np.abs(guess / truth - 1)
        return cls(float(errors.mean()), float(errors.max()), kendall_tau(guess, truth), len(truth))

    @property
    def large(self) -> bool:
        """Whether the error is too large for meaningful budgets."""
        return self.mean > LARGE_MEAN or not self.kendall_tau >= SMALL_TAU

    def __str__(self) -> str:
        return (
            f"{self.archs} held-out archs: mean error {self.mean:.1%}, "
            f"worst {self.worst:.1%}, Kendall tau {self.kendall_tau:.3f}"
        )


def kendall_tau(predicted: ArrayLike, measured: ArrayLike) -> float:
    """Compute Kendall's tau over the pairs with different predictions; 0 without any."""
    guess, truth = np.array(predicted, dtype=float), np.array(measured, dtype=float)
    apart = np.sign(guess[:, None] - guess) * ~np.isclose(guess[:, None], guess, rtol=1e-6)
    pairs = np.abs(apart).sum()
    return float((apart * np.sign(truth[:, None] - truth)).sum() / pairs) if pairs else 0.0


def fit_terms(
    measured: Mapping[Arch, float], shape: BackboneShape, terms: Sequence[Term]
) -> dict[Term, float]:
    """Fit non-negative latencies of each term by least squares of relative errors.

    First a curve a + b n + c n^2 over the tokens n for each operator; then each term, regularised
    towards that curve, which matters most for terms that few archs have.

    Args:
        measured: Latency of each arch, in the unit of the result.
        shape: Shape of the backbone.
        terms: Terms to fit, which include all of the archs.
    """
    column = {term: j for j, term in enumerate(terms)}
    counts: Array = np.zeros((len(measured), len(terms)))
    for row, arch in zip(counts, measured, strict=True):
        for term, count in count_terms(arch, shape).items():
            row[column[term]] = count
    latencies = np.array(list(measured.values()))
    weights = np.where([arch == Arch.full(shape.depth) for arch in measured], FULL_WEIGHT, 1.0)
    # Relative errors: each row is divided by its latency, so that its target is 1 times its weight.
    design = counts * (weights / latencies)[:, None]
    curves = _make_curves(terms)
    smooth = curves @ nnls(design @ curves, weights)[0]
    # A floor, since a term with 0 on the curve may still take a small part of a block's time.
    scale = TERM_SCALE * np.maximum(smooth, 1e-3 * latencies.max() / shape.depth)
    prior, target = NOISE_SCALE * np.diag(1 / scale), NOISE_SCALE * smooth / scale
    fitted = nnls(np.vstack([design, prior]), np.concatenate([weights, target]))[0]
    return {term: float(value) for term, value in zip(terms, fitted, strict=True)}


def _make_curves(terms: Sequence[Term]) -> Array:
    """Build the curves' design matrix, (terms, 3 x operators): 1, n and n^2 of each operator."""
    operators = sorted({term.operator for term in terms})
    most = max(max(term.tokens, 1) for term in terms)
    matrix: Array = np.zeros((len(terms), 3 * len(operators)))
    for row, term in zip(matrix, terms, strict=True):
        first = 3 * operators.index(term.operator)
        row[first : first + 3] = [1.0, term.tokens / most, (term.tokens / most) ** 2]
    return matrix
