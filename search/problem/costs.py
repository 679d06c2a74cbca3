"""Free costs, computed from arch and shape without an evaluation; names of latency costs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from space.arch import Arch
from space.cost import (
    AdditiveCost,
    BackboneMacCost,
    MacCost,
    ParamCost,
    TokenCost,
    activation_memory,
    backbone_macs,
    macs,
    params,
    token_counts,
)
from space.shape import BackboneShape

Cost = Callable[[Arch, BackboneShape], float]

LATENCY = "latency_ms"
_MEASURED = "measured_"


@dataclass(frozen=True)
class FreeCost:
    """A cost that needs no evaluation.

    Args:
        compute: Function of arch and shape that computes the cost.
        additive: The same cost as a sum over blocks; None if it is no such sum.
        units: Number of units of that sum in one unit of the cost (latencies are summed in ns).
    """

    compute: Cost
    additive: Callable[[BackboneShape], AdditiveCost] | None = None
    units: int = 1

    def bind(self, shape: BackboneShape) -> Callable[[Arch], float]:
        """Return the cost as a function of the archs of one backbone."""
        return partial(_compute, self.compute, shape)  # a lambda could not be pickled


def tokens(arch: Arch, shape: BackboneShape) -> int:
    """Count the patch tokens that each block works on, summed over the blocks.

    Raises:
        InputError: The arch does not fit the backbone or breaks a validity rule.
    """
    return sum(token_counts(arch, shape))


def _compute(cost: Cost, shape: BackboneShape, arch: Arch) -> float:
    return cost(arch, shape)


FREE_COSTS = {
    "macs": FreeCost(macs, MacCost),
    "backbone_macs": FreeCost(backbone_macs, BackboneMacCost),
    "params": FreeCost(params, ParamCost),
    "tokens": FreeCost(tokens, TokenCost),
    "activation_memory": FreeCost(activation_memory),
}


def mac_costs(shape: BackboneShape) -> tuple[str, ...]:
    """Return the names of the costs that are the MACs, up to a constant.

    Those without the head are, where the head has the same MACs for every arch.
    """
    return ("macs",) if shape.head_per_token else ("macs", "backbone_macs")


def mac_limit(limits: Mapping[str, float], shape: BackboneShape) -> float | None:
    """Return the limit that budgets set to the MACs; None where they set none.

    A limit of the MACs without the head is one of the MACs too, see `mac_costs`.

    Args:
        limits: Limits of costs, by name.
        shape: Shape of the backbone.
    """
    found = [limits["macs"]] if "macs" in limits else []
    if "backbone_macs" in limits and "backbone_macs" in mac_costs(shape):
        found.append(limits["backbone_macs"] + shape.head.macs)
    return min(found, default=None)


def latency_name(table: str) -> str:
    """Return the name of a table's latency cost: `latency_ms@NAME`."""
    return f"{LATENCY}@{table}"


def is_latency(name: str) -> bool:
    """Return whether a cost is called `latency_ms` or `latency_ms@NAME`."""
    return name.partition("@")[0] == LATENCY


def measured_name(cost: str) -> str:
    """Return the name of the metric that measures a latency: `measured_latency_ms`."""
    return _MEASURED + cost


def predicted_name(metric: str) -> str | None:
    """Return the predicted latency that a metric is the measurement of; None for other metrics."""
    cost = metric.removeprefix(_MEASURED)
    return cost if cost != metric and is_latency(cost) else None
