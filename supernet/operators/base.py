"""What a token operator is to the supernet: its weights, and what it does to the tokens.

Its choices, rules and costs are in the file of the same name in `space.operators`.

B images, P patch tokens, N = P + prefix tokens, D width, H heads.
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, Literal, NamedTuple, Protocol

from torch import Tensor, nn

from space.state import Tokens
from supernet.backbones.blocks import Exposed, Maps

# What an operator may need of the attention of the block before.
Need = Literal["maps", "logits", "rows"]
# Given (block, query, key), each (B, H, N, d), detached, of every block that attends by itself to
# all tokens, and of the first block of a run as if it did.
Observer = Callable[[int, Tensor, Tensor], None]


class Backbone(Protocol):
    """What operators may know of the network."""

    num_prefix_tokens: int
    has_class_token: bool
    embed_dim: int
    num_heads: int


class Action(NamedTuple):
    """A choice that a block makes, with what it finds.

    Args:
        operator: Whose choice it is.
        choice: The choice, not the plain one.
        before: The tokens that it finds.
        after: The tokens that it leaves.
    """

    operator: TokenOperator
    choice: Any
    before: Tokens
    after: Tokens


class Restore(Protocol):
    """Gives all tokens their places again, after some of them bypassed blocks."""

    @property
    def chosen(self) -> Tensor:
        """The patch tokens that went through, (B, K), ascending."""

    def __call__(self, x: Tensor) -> Tensor:
        """Tokens that went through (B, prefix + K, D) to all tokens (B, N, D)."""


class Flow(NamedTuple):
    """All that one block leaves for those after it.

    Args:
        x: Tokens, (B, N, D); inside a run those that go through it, (B, prefix + K, D).
        exposed: What the attention of the last block left.
        restores: What gives all tokens their places again, the last one first.
        maps: The maps that the next block is to share; None where it makes its own.
    """

    x: Tensor
    exposed: Exposed = Exposed()
    restores: tuple[Restore, ...] = ()
    maps: Maps | None = None

    def all_tokens(self) -> Tensor:
        """Tokens (B, N, D); inside a run, those that went through it at their places."""
        x = self.x
        for restore in self.restores:
            x = restore(x)
        return x


class Auxiliary(Protocol):
    """A loss beside the task's, which teaches the weights of an operator.

    It watches the full network's blocks, and propagates its own gradients: as sums over the images,
    since only the end of a step tells how many all its batches have.

    Attributes:
        losses: Mean losses so far.
    """

    losses: list[Tensor]

    def __call__(self, i: int, query: Tensor, key: Tensor) -> None:
        """Take the queries and keys of block `i`, (B, H, N, d) each."""


class TokenOperator(ABC):
    """The weights of an operator and what it computes. Stateless; one instance.

    Attributes:
        name: That of the operator in `space.operators`.
        modules: Where a network keeps its weights, by block: `pools` gives `pools.3.conv2d`.
        decays: Whether weight decay suits its weights.
        auxiliary: The name of the loss that alone trains its weights; None where the task's does.
    """

    name: ClassVar[str]
    modules: ClassVar[str | None] = None
    decays: ClassVar[bool] = True
    auxiliary: ClassVar[str | None] = None

    def need(self, action: Action) -> Need | None:
        """What it needs of the attention of the block before."""
        return None

    def reader(self, net: Backbone, need: Need, module: nn.Module | None) -> Callable[..., Tensor]:
        """What reads logits or rows of the block before, where it needs them; see `Request`."""
        raise NotImplementedError

    def module(self, net: Backbone, choices: Iterable[Action], like: Tensor) -> nn.Module | None:
        """New weights of a block that has these choices; None where it needs none.

        Args:
            net: The network.
            choices: The choices that the block may be given.
            like: A tensor of the device and the type that the weights are to have.
        """
        return None

    def apply(self, net: Backbone, action: Action, flow: Flow, module: nn.Module | None) -> Flow:
        """Do what a choice says, before the block runs."""
        return flow

    def cut(self, block: nn.Module, choice: Any) -> None:  # noqa: B027 - most cut nothing
        """Remove what a block of a subnet does not use any more."""

    def auxiliary_loss(self, net: Any, rows: Tensor) -> Auxiliary | None:
        """What trains its weights beside the task's loss; None where there is nothing to train.

        Args:
            net: The supernet, or a subnet.
            rows: The images of the batch to learn from, (B,) of bool.
        """
        return None

    def judge(self, net: Any, images: Iterable[Tensor]) -> Mapping[str, float]:
        """How good its weights are at their own task, on held-out images; figures by name."""
        return {}
