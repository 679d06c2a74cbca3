"""The registry of token operators. To add one: its file, and its line here."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from space.operators import registry as space_registry
from space.operators.base import Operator
from supernet.operators.base import Auxiliary, TokenOperator
from supernet.operators.pooling import Pooling
from supernet.operators.sharing import Sharing
from supernet.operators.skipping import Skipping

_operators: dict[str, TokenOperator] = {
    each.name: each for each in (Pooling(), Skipping(), Sharing())
}


def token_operators() -> tuple[TokenOperator, ...]:
    """Return the operators, in the order in which a block applies them."""
    return tuple(_operators[each.name] for each in space_registry.operators())


def token_operator(name: str) -> TokenOperator:
    """Return an operator by its name."""
    return _operators[name]


def auxiliary_losses(net: Any, rows: Tensor) -> dict[str, Auxiliary]:
    """Make the auxiliary losses of a step that have something to train, by name.

    Args:
        net: The supernet, or a subnet.
        rows: Mask of the images of the batch to learn from, (B,) of bool.
    """
    losses = {each.auxiliary: each.auxiliary_loss(net, rows) for each in token_operators()}
    return {name: loss for name, loss in losses.items() if name is not None and loss is not None}


def register(operator: Operator[Any, Any], token_operator: TokenOperator) -> None:
    """Register both classes of an operator; needed in every process that runs its archs.

    Raises:
        InputError: The name is taken.
    """
    space_registry.register(operator)
    _operators[operator.name] = token_operator
