"""Which tokens a network chooses, read off from outside: no output of it says so.

`supernet.selection.choose` is the only operator with a top-k, and ends with the one that gives the
chosen tokens (B, K). It looks the same in a subnet, in an exported program and in an ONNX graph.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from supernet.elastic import ElasticViT

T = TypeVar("T")


class Answer(NamedTuple):
    """What a network says of images, and how it got there.

    Args:
        logits: (B, classes).
        chosen: for each run of blocks the patch tokens that go through it, (B, K).
    """

    logits: Tensor
    chosen: Sequence[Tensor]


Answers = Callable[[Tensor], Answer]


def runs_of(subnet: ElasticViT) -> int:
    """Runs of blocks that some tokens bypass."""
    return sum(step.selector is not None for step in subnet.steps())


def observed(network: Callable[[Tensor], Tensor], runs: int) -> Answers:
    """A network of torch that tells what it chose, in `runs` runs."""

    def answer(images: Tensor) -> Answer:
        with torch.inference_mode(), _TopK() as seen:
            logits = network(images)
        return Answer(logits, last_of_each(seen.indices, runs))

    return answer


def last_of_each(found: Sequence[T], runs: int) -> Sequence[T]:
    """Of the top-ks of all runs, the last of each."""
    each, rest = divmod(len(found), runs) if runs else (1, len(found))
    if rest or not each:
        raise RuntimeError(f"{len(found)} top-ks in {runs} runs: selection is another one now")
    return found[each - 1 :: each]


class _TopK(TorchDispatchMode):
    """Keeps the indices of every top-k inside it, in order."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.indices: list[Tensor] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        found = func(*args, **(kwargs or {}))
        if func is torch.ops.aten.topk.default:
            self.indices.append(found[1])
        return found
