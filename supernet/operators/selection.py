"""Token selection (ToSA, arXiv 2406.08816): which patch tokens go through a run of blocks.

B images, P patch tokens, N = P + prefix tokens, H heads, d head width, K tokens chosen. Importance
is computed in at least float32, even under autocast: rounding to bfloat16 changes the choice.
"""

from __future__ import annotations

import random
from functools import lru_cache

import torch
from torch import Tensor, nn

from supernet.precision import at_least_float32, full_precision

# A selector subtracts each row's maximum from the logits, so that they are at most 0. Adding 16
# keeps those that matter (from e^-16 of the largest entry on) above zero, where the ReLU passes.
LIFT = 16.0


class MapSelector(nn.Module):
    """Predicts the maps of a block from the logits of the block before it.

    Two 1-wide convolutions over the heads with a ReLU between (hidden width H), log-softmax over
    the keys: 2 H^2 N^2 MACs. The second has no bias: log-softmax would cancel it. The maximum of
    each row is subtracted first, so that shifting a row changes nothing, as in softmax.
    Batched matrix products over the heads are several times faster here than convolutions.
    """

    def __init__(self, heads: int) -> None:
        super().__init__()
        # Initialised to the identity: the ReLU passes what the bias lifts above zero, and
        # log-softmax cancels the bias. So learning starts from the previous map itself.
        #
        # The parameters are not in linear layers, which adapters and quantisation would replace
        # although nothing calls them.
        self.hidden = nn.ParameterDict({"weight": torch.eye(heads)})
        self.hidden["bias"] = torch.full((heads,), LIFT)
        self.predict = nn.ParameterDict({"weight": torch.eye(heads)})

    def forward(self, logits: Tensor) -> Tensor:
        """Map logits (B, H, N, N) to log-maps (B, H, N, N)."""
        with full_precision(logits):
            return _mix(logits, *self.parameters()).log_softmax(dim=-1)

    def importance(self, logits: Tensor, prefix: int) -> Tensor:
        """Map logits (B, H, N, N) to the importance of patch tokens (B, P), without gradient."""
        with full_precision(logits):
            mixed = _mix(logits.detach(), *(weight.detach() for weight in self.parameters()))
            return column_sums(mixed.softmax(dim=-1), prefix)


def _mix(logits: Tensor, hidden: Tensor, bias: Tensor, predict: Tensor) -> Tensor:
    """Apply two 1-wide convolutions over the heads, a ReLU between: (B, H, N, N)."""
    logits = at_least_float32(logits)
    flat = (logits - logits.amax(dim=-1, keepdim=True)).flatten(2)
    size = flat.shape[0], -1, -1
    first, second = hidden.to(flat.dtype).expand(size), predict.to(flat.dtype).expand(size)
    inner = torch.baddbmm(bias.to(flat.dtype)[:, None], first, flat).relu_()
    return torch.bmm(second, inner).view(logits.shape)


def column_sums(maps: Tensor, prefix: int) -> Tensor:
    """Sum maps over all N queries and average over the heads: (B, P)."""
    return maps.sum(dim=2).mean(dim=1)[:, prefix:]


def row_importance(query: Tensor, key: Tensor, scale: float, prefix: int, cls: bool) -> Tensor:
    """Compute the attention of one query to the patch tokens, averaged over the heads: (B, P).

    Runs head by head: the keys of the heads are interleaved, and one product would copy them.

    Args:
        query, key: Queries and keys of the block before the run, (B, H, N, d) each.
        scale: Scale of its logits.
        prefix: Number of prefix tokens.
        cls: Whether to use the class token's query, else the mean of the patch queries.
    """
    with full_precision(query):
        query, key = at_least_float32(query.detach()), at_least_float32(key.detach())
        row = query[:, :, :1] if cls else query[:, :, prefix:].mean(dim=2, keepdim=True)
        columns = (row * scale).transpose(-2, -1)
        heads = zip(key.unbind(1), columns.unbind(1), strict=True)
        logits = torch.cat([torch.bmm(k, column) for k, column in heads], dim=2)
        return logits.softmax(dim=1).mean(dim=2)[:, prefix:]


def choose(importance: Tensor, k: int) -> Tensor:
    """Return the indices (B, K) of the `k` most important tokens, ascending; ties to the lower.

    ONNX has no stable sort, and `topk` leaves the order of ties undefined.
    """
    scores = importance.detach()
    least = scores.topk(k, dim=1).values[:, -1:]
    above, equal = scores > least, scores == least
    chosen = above | (equal & (equal.cumsum(dim=1) <= k - above.sum(dim=1, keepdim=True)))
    backwards = torch.arange(scores.shape[1], 0, -1, device=scores.device)
    return (chosen * backwards).topk(k, dim=1).indices


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def choose_at_random(block: int, tokens: int, k: int, device: torch.device) -> Tensor:
    """Return the indices (K) of `k` tokens at random places, ascending, the same for all images.

    Fewer tokens are some of those of a larger `k`. Compiled and exported networks have the indices
    as a constant.
    """
    places = torch.tensor(sorted(random_order(block, tokens)[:k]))
    return places.to(device, non_blocking=True)


@lru_cache(maxsize=4096)
def random_order(block: int, tokens: int) -> tuple[int, ...]:
    """Return `tokens` places in a random order, always the same for a block.

    Networks do not store it, so it must never change: `random()` gives the same numbers for a seed
    in every version of Python, as no other generator of Python, numpy or torch does.
    """
    generator = random.Random(f"block {block} of {tokens} tokens")
    draws = [generator.random() for _ in range(tokens)]
    return tuple(sorted(range(tokens), key=draws.__getitem__))


def compute_rows(index: Tensor, prefix: int, n: int) -> Tensor:
    """Compute the rows of prefix and chosen tokens in (B N, D): (B, prefix + K).

    Indexing whole rows is faster than `gather`.

    Args:
        index: Indices of the chosen patch tokens, (B, K).
        prefix: Number of prefix tokens.
        n: Number of tokens of an image, N.
    """
    first = torch.arange(prefix, device=index.device).expand(index.shape[0], prefix)
    starts = torch.arange(index.shape[0], device=index.device)[:, None] * n
    return torch.cat([first, index + prefix], dim=1) + starts


def gather_tokens(x: Tensor, rows: Tensor) -> Tensor:
    """Gather the tokens in `rows` of (B, N, D): (B, prefix + K, D)."""
    return x.flatten(0, 1).index_select(0, rows.flatten()).view(*rows.shape, x.shape[2])


def scatter_tokens(x: Tensor, rows: Tensor, chosen: Tensor) -> Tensor:
    """Write the tokens `chosen` (B, prefix + K, D) to `rows` of a copy of x (B, N, D)."""
    return x.flatten(0, 1).index_copy(0, rows.flatten(), chosen.flatten(0, 1)).view(x.shape)
