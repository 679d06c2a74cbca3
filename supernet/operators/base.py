"""The base class of token operators: weights and forward pass.

The file of the same name in `space.operators` has the choices, rules and costs.

B images, P patch tokens, N = P + prefix tokens, D width, H heads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, Literal, NamedTuple, Protocol

from torch import Tensor, nn

from space.state import Tokens
from supernet.backbones.blocks import Exposed, Maps
from supernet.backbones.dense_head import Features

# The tensors that an operator may request of the block before: fields of `Request`.
Need = Literal["maps", "read_logits", "read_rows"]
# Called with (block, query, key), detached, (B, H, N, d) each: for every block with own attention
# over all tokens, and for the first block of a run, for which they are computed over all tokens.
Observer = Callable[[int, Tensor, Tensor], None]


class Backbone(Protocol):
    """The attributes of a network that operators may read."""

    num_prefix_tokens: int
    has_class_token: bool
    embed_dim: int
    num_heads: int


class Action(NamedTuple):
    """The application of an operator to a block.

    Args:
        operator: The operator.
        choice: Its choice (not the plain one).
        before: The tokens before the operator.
        after: The tokens after it.
        block: Index of the block.
    """

    operator: TokenOperator
    choice: Any
    before: Tokens
    after: Tokens
    block: int


class Restore(Protocol):
    """Puts the tokens of a run of blocks back among those that bypassed it."""

    @property
    def chosen(self) -> Tensor:
        """Indices of the selected patch tokens, (B, K), ascending."""

    def __call__(self, x: Tensor) -> Tensor:
        """Map the tokens in the run (B, prefix + K, D) to all tokens (B, N, D)."""


class Flow(NamedTuple):
    """The output of a block, with what later blocks need of it.

    Args:
        x: Tokens, (B, N, D); inside a run the selected ones, (B, prefix + K, D).
        exposed: The tensors exposed by the attention of the last block.
        restores: The restores to apply at the end of runs, the innermost first.
        maps: The maps that the next block shares; None where it computes its own.
        features: The features that a dense head has of the blocks so far.
    """

    x: Tensor
    exposed: Exposed = Exposed()
    restores: tuple[Restore, ...] = ()
    maps: Maps | None = None
    features: tuple[Features, ...] = ()

    def all_tokens(self) -> Tensor:
        """Return all tokens (B, N, D), also inside a run."""
        x = self.x
        for restore in self.restores:
            x = restore(x)
        return x


class Auxiliary(Protocol):
    """An auxiliary loss that trains the weights of an operator.

    It observes the blocks of the full network and runs its own backward passes, on sums over the
    images: their number is known at the end of a step only, over all batches and processes.

    Attributes:
        losses: Mean losses so far.
    """

    losses: list[Tensor]

    def __call__(self, i: int, query: Tensor, key: Tensor) -> None:
        """Observe the queries and keys of block `i`, (B, H, N, d) each."""


class TokenOperator:
    """Weights and forward pass of an operator. Stateless; one instance.

    Attributes:
        name: Name of the operator in `space.operators`.
        modules: Attribute that holds its weights by block: `pools` gives `pools.3.conv2d`; empty
            without weights.
        decays: Whether weight decay applies to its weights; never to those with `auxiliary`.
        auxiliary: Name of the auxiliary loss that trains its weights; None for the task's loss.
    """

    name: ClassVar[str]
    modules: ClassVar[str] = ""
    decays: ClassVar[bool] = True
    auxiliary: ClassVar[str | None] = None

    def need(self, action: Action) -> Need | None:
        """Return what an action requests of the attention of the block before, or None."""
        return None

    def reader(self, net: Backbone, need: Need, module: nn.Module | None) -> Callable[..., Tensor]:
        """Return the function `read_logits` or `read_rows` for the `Request` of `need`."""
        raise NotImplementedError

    def module(self, net: Backbone, choices: Iterable[Action], like: Tensor) -> nn.Module | None:
        """Make the weights of a block; None where it needs none.

        Args:
            net: The network.
            choices: Actions that are possible in the block.
            like: A tensor with the device and dtype of the weights.
        """
        return None

    def apply(self, net: Backbone, action: Action, flow: Flow, module: nn.Module | None) -> Flow:
        """Apply a choice to the tokens before the block."""
        return flow

    def prune(self, block: nn.Module, choice: Any) -> None:
        """Remove the parameters that a subnet's block does not use."""

    def auxiliary_loss(self, net: Any, rows: Tensor) -> Auxiliary | None:
        """Make the auxiliary loss of a training step; None if there is nothing to train.

        Args:
            net: The supernet, or a subnet.
            rows: Mask of the images of the batch to learn from, (B,) of bool.
        """
        return None

    def measure(self, net: Any, images: Iterable[Tensor]) -> Mapping[str, float]:
        """Compute the operator's `metric` on held-out images: a share for each name."""
        return {}
