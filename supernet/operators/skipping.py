"""Token selective attention (ToSA, arXiv 2406.08816): some patch tokens bypass a run of blocks.

The target of a map selector before block i is the map of block i in the full network. Its loss is
KL(true map || predicted map), on detached inputs. Its metric is recall: the share of the K tokens
with the largest true column sums that it chooses; that of the `random` selector is chance.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from space.arch import Selector
from space.operators.skipping import count_kept
from supernet.operators.base import (
    Action,
    Auxiliary,
    Backbone,
    Flow,
    Need,
    TokenOperator,
)
from supernet.operators.selection import (
    MapSelector,
    choose,
    choose_at_random,
    column_sums,
    compute_rows,
    gather_tokens,
    row_importance,
    scatter_tokens,
)
from supernet.precision import at_least_float32, full_precision

# What each selector reads of the block before.
NEEDS: dict[Selector, Need | None] = {"map": "read_logits", "cls": "read_rows", "random": None}
# With a smaller share of skipped tokens, a random choice also has a high recall.
LEAST_SKIPPED = 0.1


class Skipping(TokenOperator):
    """Chooses the tokens before the first block of a run; the others bypass all of it."""

    name = "skip"
    modules = "selectors"
    auxiliary = "selector"

    def need(self, action: Action) -> Need | None:
        return NEEDS[action.choice.selector] if _starts_run(action) else None

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
        x, tokens, k = flow.x, action.before.patches, action.after.selected
        if action.choice.selector == "random":
            chosen = choose_at_random(action.block, tokens, k, x.device).expand(x.shape[0], k)
        else:
            assert flow.exposed.read is not None
            chosen = choose(flow.exposed.read, k)
        rows = compute_rows(chosen, net.num_prefix_tokens, x.shape[1])
        restore = RestoreSkipped(x, rows, chosen)
        return flow._replace(x=gather_tokens(x, rows), restores=(restore, *flow.restores))

    def auxiliary_loss(self, net: Any, rows: Tensor) -> Auxiliary | None:
        trains = len(net.selectors) > 0 and bool(rows.any())
        return SelectorLearning(net, rows) if trains else None

    def measure(self, net: Any, images: Iterable[Tensor]) -> Mapping[str, float]:
        if not len(net.selectors):
            return {}
        recall = SelectorRecall(net)
        with torch.inference_mode():
            for batch in images:
                net.forward_features(batch, net.space.largest(), observe=recall)
        return recall.means()


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


class SelectorLearning:
    """The auxiliary loss of the map selectors, whose targets are the full network's maps.

    Each selector runs its backward pass at once, so that only one pair of maps is alive at a time.

    Args:
        model: The supernet, or a subnet, whose selectors are trained.
        rows: Mask of the images of the batch to learn from, (B,) of bool; a few are enough.
    """

    def __init__(self, model: Any, rows: Tensor) -> None:
        self.model = model
        self.rows = rows
        self.losses: list[Tensor] = []
        self._before: Tensor | None = None

    def __call__(self, i: int, query: Tensor, key: Tensor) -> None:
        """Observe the queries and keys of block `i`, (B, H, N, d) each."""
        selectors = self.model.selectors
        if str(i) not in selectors and str(i + 1) not in selectors:
            self._before = None
            return
        logits = _logits(self.model, i, query[self.rows], key[self.rows])
        if str(i) in selectors and self._before is not None:
            loss = divergence(logits, selectors[str(i)](self._before))
            if loss.requires_grad:
                with full_precision(loss):  # autocast would also round the backward pass
                    (loss * self.rows.sum()).backward()
            self.losses.append(loss.detach())
        self._before = logits


class SelectorRecall:
    """The recall of the selectors and of simpler baselines, measured on the full network."""

    def __init__(self, supernet: Any) -> None:
        self.supernet = supernet
        self.sums: defaultdict[str, float] = defaultdict(float)
        self.count = 0
        self._before: tuple[Tensor, Tensor, Tensor] | None = None

    def __call__(self, i: int, query: Tensor, key: Tensor) -> None:
        """Observe the queries and keys of block `i`, (B, H, N, d) each."""
        logits = _logits(self.supernet, i, query, key)
        if str(i) in self.supernet.selectors and self._before is not None:
            self._add_recall(i, logits, *self._before)
        self._before = (logits, query, key)

    def _add_recall(
        self, i: int, logits: Tensor, before: Tensor, query: Tensor, key: Tensor
    ) -> None:
        supernet = self.supernet
        prefix = supernet.num_prefix_tokens
        truth = column_sums(logits.softmax(dim=-1), prefix)
        scale = supernet.blocks[i - 1].attn.scale
        importances = {
            "selector": supernet.selectors[str(i)].importance(before, prefix),
            "previous map": column_sums(before.softmax(dim=-1), prefix),
            "class row": row_importance(query, key, scale, prefix, cls=supernet.has_class_token),
        }
        images, tokens = truth.shape
        ratios = supernet.space.axes["skip"].ratios
        for k in sorted({count_kept(ratio, tokens) for ratio in ratios}):
            if tokens - k < LEAST_SKIPPED * tokens:
                continue
            relevant = choose(truth, k)
            for name, importance in importances.items():
                self.sums[name] += images * _recall(choose(importance, k), relevant, tokens)
            self.sums["chance"] += images * k / tokens
            self.count += images

    def means(self) -> dict[str, float]:
        """Return the recall by name, averaged over blocks, ratios and images."""
        return {name: total / self.count for name, total in self.sums.items()}


def divergence(logits: Tensor, log_maps: Tensor) -> Tensor:
    """Compute KL(softmax(logits) || exp(log_maps)), averaged over images, heads and queries."""
    truth = logits.log_softmax(dim=-1)
    return (truth.exp() * (truth - log_maps)).sum(dim=-1).mean()


def _logits(model: Any, i: int, query: Tensor, key: Tensor) -> Tensor:
    with full_precision(query):
        query, key = at_least_float32(query), at_least_float32(key)
        scale: float = model.blocks[i].attn.scale
        return (query * scale) @ key.transpose(-2, -1)


def _recall(chosen: Tensor, relevant: Tensor, tokens: int) -> float:
    """Return the share of the relevant tokens (B, K) that are chosen, averaged over the images."""
    mask = torch.zeros(len(chosen), tokens, dtype=torch.bool, device=chosen.device)
    mask.scatter_(1, chosen, True)
    return mask.gather(1, relevant).float().mean().item()
