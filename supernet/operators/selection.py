"""Token selection (ToSA, arXiv 2406.08816): which patch tokens go through a run of blocks.

B images, P patch tokens, N = P + prefix tokens, H heads, d head width, K tokens chosen. Importance
is worked out in float32 at least, under autocast too: rounding it to bfloat16 changes the choice.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from supernet.precision import at_least_float32, full_precision

# Logits enter a selector as what they lack to the largest of their row. Below e^-16 of a row's
# largest entry a map in float32 holds nothing, so what this lifts above zero is the whole map.
LIFT = 16.0


class MapSelector(nn.Module):
    """Predicts the maps of the next block from the logits of the one before.

    Two 1-wide convolutions over the heads with a ReLU between (hidden width H), log-softmax over
    the keys: 2 H^2 N^2 MACs. The second has no bias: log-softmax would cancel it. As softmax does
    not change when a row of logits is shifted, neither does this: the maximum of each row is taken
    off first. Written as batched matrix products over the heads, which are several times faster
    than convolutions here.
    """

    def __init__(self, heads: int, device: torch.device | None = None) -> None:
        super().__init__()
        # At first logits pass through: the ReLU does not cut what the bias lifts above zero, and
        # log-softmax ignores the lift. So learning starts from the previous map itself.
        self.hidden = _HeadMix(heads, device)
        self.hidden.bias = nn.Parameter(torch.full((heads,), LIFT, device=device))
        self.predict = _HeadMix(heads, device)

    def forward(self, logits: Tensor) -> Tensor:
        """Logits (B, H, N, N) to log-maps (B, H, N, N)."""
        with full_precision(logits):
            mixed = _mix(logits, self.hidden.weight, self.hidden.bias, self.predict.weight)
            return mixed.log_softmax(dim=-1)

    def importance(self, logits: Tensor, prefix: int) -> Tensor:
        """Logits (B, H, N, N) to the importance of the patch tokens (B, P); passes no gradient."""
        weights = (self.hidden.weight, self.hidden.bias, self.predict.weight)
        with full_precision(logits):
            mixed = _mix(logits.detach(), *(weight.detach() for weight in weights))
            return column_sums(mixed.softmax(dim=-1), prefix)


class _HeadMix(nn.Module):
    """The weights of a 1-wide convolution over the heads.

    No `nn.Linear`: its forward pass is never called, and whoever replaces linear layers by others
    (adapters, quantisation) must not take it for one.
    """

    bias: nn.Parameter

    def __init__(self, heads: int, device: torch.device | None) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.eye(heads, device=device))


def _mix(logits: Tensor, hidden: Tensor, bias: Tensor, predict: Tensor) -> Tensor:
    """Two convolutions over the heads, a ReLU between: (B, H, N, N) in float32 at least."""
    logits = at_least_float32(logits)
    flat = (logits - logits.amax(dim=-1, keepdim=True)).flatten(2)
    each = flat.shape[0], -1, -1
    first, second = hidden.to(flat.dtype).expand(each), predict.to(flat.dtype).expand(each)
    inner = torch.baddbmm(bias.to(flat.dtype)[:, None], first, flat).relu_()
    return torch.bmm(second, inner).view(logits.shape)


def column_sums(maps: Tensor, prefix: int) -> Tensor:
    """Column sums of maps over all N queries, averaged over the heads: (B, P)."""
    return maps.sum(dim=2).mean(dim=1)[:, prefix:]


def row_importance(query: Tensor, key: Tensor, scale: float, prefix: int, cls: bool) -> Tensor:
    """The attention of one query row to the patch tokens, averaged over the heads: (B, P).

    Head by head: keys of all heads lie interleaved, and one product would copy them all.

    Args:
        query, key: of the block before the run, (B, H, N, d).
        scale: of its logits.
        prefix: prefix tokens.
        cls: the class token's row; else the mean of the patch queries, where there is none.
    """
    with full_precision(query):
        query, key = at_least_float32(query.detach()), at_least_float32(key.detach())
        row = query[:, :, :1] if cls else query[:, :, prefix:].mean(dim=2, keepdim=True)
        columns = (row * scale).transpose(-2, -1)
        heads = zip(key.unbind(1), columns.unbind(1), strict=True)
        logits = torch.cat([torch.bmm(k, column) for k, column in heads], dim=2)
        return logits.softmax(dim=1).mean(dim=2)[:, prefix:]


def choose(importance: Tensor, k: int) -> Tensor:
    """Indices (B, K) of the K most important tokens, ascending; of equal ones the lower index.

    A stable sort would do the same, but has no form in ONNX; the order of ties in `topk` is open.
    """
    scores = importance.detach()
    least = scores.topk(k, dim=1).values[:, -1:]
    above, equal = scores > least, scores == least
    chosen = above | (equal & (equal.cumsum(dim=1) <= k - above.sum(dim=1, keepdim=True)))
    backwards = torch.arange(scores.shape[1], 0, -1, device=scores.device)
    return (chosen * backwards).topk(k, dim=1).indices


def rows_of(index: Tensor, prefix: int, n: int) -> Tensor:
    """Rows of the tokens (B N, D) that hold prefix and chosen tokens, (B, prefix + K).

    Whole rows are quick to move.

    Args:
        index: chosen patch tokens, (B, K).
        prefix: prefix tokens.
        n: tokens of an image, N.
    """
    first = torch.arange(prefix, device=index.device).expand(index.shape[0], prefix)
    starts = torch.arange(index.shape[0], device=index.device)[:, None] * n
    return torch.cat([first, index + prefix], dim=1) + starts


def take(x: Tensor, rows: Tensor) -> Tensor:
    """Tokens (B, N, D) to those in `rows`, as many of each image: (B, prefix + K, D)."""
    return x.flatten(0, 1).index_select(0, rows.flatten()).view(*rows.shape, x.shape[2])


def put_back(x: Tensor, rows: Tensor, chosen: Tensor) -> Tensor:
    """The tokens x (B, N, D) with those in `rows` replaced; the others bypassed the run."""
    return x.flatten(0, 1).index_copy(0, rows.flatten(), chosen.flatten(0, 1)).view(x.shape)
