"""Token selective attention (ToSA, arXiv 2406.08816): some patch tokens bypass a run of blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, NamedTuple

from torch import Tensor, nn

from supernet.operators.base import (
    Action,
    Auxiliary,
    Backbone,
    Flow,
    Need,
    OperatorMetric,
    TokenOperator,
)
from supernet.operators.selection import (
    MapSelector,
    choose,
    compute_rows,
    gather_tokens,
    row_importance,
    scatter_tokens,
)
from supernet.operators.selector_learning import SelectorLearning, selector_recall


class Skipping(TokenOperator):
    """Chooses the tokens before the first block of a run; the others bypass all of it."""

    name = "skip"
    modules = "selectors"
    auxiliary = "selector"
    metric = OperatorMetric(
        "recall",
        "share of the most important tokens that the selectors and simpler baselines choose",
    )

    def need(self, action: Action) -> Need | None:
        if not _starts_run(action):
            return None
        return "read_logits" if action.choice.selector == "map" else "read_rows"

    def reader(self, net: Backbone, need: Need, module: Any) -> Callable[..., Tensor]:
        prefix = net.num_prefix_tokens
        if need == "read_logits":
            return partial(module.importance, prefix=prefix)
        return partial(row_importance, prefix=prefix, cls=net.has_class_token)

    def module(self, net: Backbone, choices: Iterable[Action], like: Tensor) -> nn.Module | None:
        if any(_starts_run(each) and each.choice.selector == "map" for each in choices):
            return MapSelector(net.num_heads).to(like)
        return None

    def apply(self, net: Backbone, action: Action, flow: Flow, module: nn.Module | None) -> Flow:
        if not _starts_run(action):
            return flow
        assert flow.exposed.read is not None
        chosen = choose(flow.exposed.read, action.after.selected)
        rows = compute_rows(chosen, net.num_prefix_tokens, flow.x.shape[1])
        restore = RestoreSkipped(flow.x, rows, chosen)
        return flow._replace(x=gather_tokens(flow.x, rows), restores=(restore, *flow.restores))

    def auxiliary_loss(self, net: Any, rows: Tensor) -> Auxiliary | None:
        trains = len(net.selectors) > 0 and bool(rows.any())
        return SelectorLearning(net, rows) if trains else None

    def measure(self, net: Any, images: Iterable[Tensor]) -> Mapping[str, float]:
        return selector_recall(net, images)


class RestoreSkipped(NamedTuple):
    """Puts the tokens of a run back among those that bypassed it.

    Args:
        x: All tokens before the run, (B, N, D).
        rows: Rows of the tokens in the run, see `compute_rows`.
        chosen: Indices of its patch tokens, (B, K).
    """

    x: Tensor
    rows: Tensor
    chosen: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        return scatter_tokens(self.x, self.rows, x)


def _starts_run(action: Action) -> bool:
    """Return whether a skipping block is the first of its run."""
    return not action.before.selected
