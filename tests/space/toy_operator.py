"""`thin`: keeps every second patch token. An operator that is defined here and nowhere else."""

from contextlib import contextmanager
from dataclasses import dataclass

from space.operators import registry as space_registry
from space.operators.base import Axis, BlockCost, Operator, Term, parse_blocks
from space.state import Tokens
from supernet.operators import registry
from supernet.operators.base import TokenOperator


@dataclass(frozen=True)
class ThinAxis(Axis):
    choices = (True,)


class Thin(Operator):
    """What the space knows: after it there is no grid; every second token is left."""

    name = field = "thin"
    kind, plain = "reduce", False
    title, caption = "thin out", "Funnel: every second patch token is kept"

    def text(self, choice):
        return "thin" if choice else "none"

    def from_dict(self, given):
        return given["thin"].flag()

    def read_axis(self, section, shape):
        return ThinAxis(parse_blocks(section.mapping(blocks="all")["blocks"], shape.depth, first=0))

    def canonical(self, tokens, counter, choice, axis):
        return choice and tokens.patches > 1

    def advance(self, tokens, counter, choice):
        if not choice:
            return tokens, counter
        return Tokens(None, -(-tokens.patches // 2), 0, True, tokens.own_maps), counter

    def cost(self, tokens, counter, choice, shape):
        if not choice:
            return BlockCost()
        left = -(-tokens.patches // 2)
        moved = (tokens.patches + left + 2 * shape.prefix) * shape.width
        return BlockCost(before=moved, terms=((Term("thin", tokens.patches, left), 0),))

    def effect(self, after, choice):
        return [["thin", after.tokens.patches]] if choice else []

    def describe(self, choice):
        return "every second patch token" if choice else ""


class ThinTokens(TokenOperator):
    """What it does to them."""

    name = "thin"

    def apply(self, net, action, flow, module):
        prefix = net.num_prefix_tokens
        n = flow.x.shape[1]
        kept = [*range(prefix), *range(prefix, n, 2)]
        return flow._replace(x=flow.x[:, kept])


@contextmanager
def registered_in_space(operator):
    """Registers an operator with the space alone, within a context."""
    before = space_registry.operators()
    space_registry.register(operator)
    try:
        yield
    finally:
        space_registry._set(before)


@contextmanager
def registered():
    """Registers `thin` within a context."""
    with registered_in_space(Thin()):
        registry._operators["thin"] = ThinTokens()
        try:
            yield
        finally:
            del registry._operators["thin"]
