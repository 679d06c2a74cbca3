"""The walk along an arch: states, canonical form and rules of its blocks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from space.arch import Arch, BlockArch
from space.operators.base import Axis, Operator
from space.operators.registry import cached, operators
from space.rules import NO_RULES, Rules
from space.shape import BackboneShape
from space.state import State, Tokens
from space.utils.errors import InputError

PLAIN = BlockArch()


class Turn(NamedTuple):
    """One operator's part in a block.

    Args:
        operator: The operator.
        tokens: The tokens before it.
        counter: Its counter before the block.
        choice: Its choice in the block.
    """

    operator: Operator[Any, Any]
    tokens: Tokens
    counter: Any
    choice: Any


def initial_state(shape: BackboneShape) -> State:
    """Return the state before block 0."""
    tokens = Tokens(shape.grid, shape.patch_tokens)
    return State(tokens, tuple(operator.start() for operator in operators()))


def turns(state: State, block: BlockArch) -> Iterator[Turn]:
    """Yield each operator's part in a block in canonical form; `state` is the state before it."""
    tokens = state.tokens
    for operator, counter in zip(operators(), state.counters, strict=True):
        choice = operator.choice(block)
        yield Turn(operator, tokens, counter, choice)
        tokens, _ = operator.advance(tokens, counter, choice)


@cached(1 << 16)
def advance(state: State, block: BlockArch) -> State:
    """Return the state after a block that is valid at `state`."""
    tokens, counters = state.tokens, []
    for operator, counter in zip(operators(), state.counters, strict=True):
        tokens, after = operator.advance(tokens, counter, operator.choice(block))
        counters.append(after)
    return State(tokens, tuple(counters))


def canonical_block(state: State, block: BlockArch, axes: Mapping[str, Axis]) -> BlockArch:
    """Return the canonical form of `block` at `state`."""
    tokens = state.tokens
    for operator, counter in zip(operators(), state.counters, strict=True):
        choice = operator.choice(block)
        canonical = operator.canonical(tokens, counter, choice, axes.get(operator.name))
        if canonical != choice:
            block = operator.put(block, canonical)
        tokens, _ = operator.advance(tokens, counter, canonical)
    return block


def canonical_steps(
    arch: Arch, shape: BackboneShape, axes: Mapping[str, Axis]
) -> Iterator[tuple[State, BlockArch]]:
    """Yield the state before each block and the canonical form of the block."""
    state = initial_state(shape)
    for block in arch.blocks:
        canonical = canonical_block(state, block, axes)
        yield state, canonical
        state = advance(state, canonical)


def broken_rule(turn: Turn, rules: Rules) -> str | None:
    """Return what a canonical choice does that the rules of a space forbid, or None."""
    operator, tokens, counter, choice = turn
    after, _ = operator.advance(tokens, counter, choice)
    reason = rules.violation(tokens, after)
    return reason and f"{operator.field} {operator.text(choice)} {reason}"


def violations(
    i: int,
    state: State,
    block: BlockArch,
    axes: Mapping[str, Axis] | None = None,
    rules: Rules = NO_RULES,
) -> list[str]:
    """Return the reasons why a block in canonical form is invalid; empty if it is valid.

    Args:
        i: Index of the block.
        state: The state before it.
        block: Its choices.
        axes: Axes of a space; None for no limits.
        rules: Rules of the space.
    """
    reasons, names = [], []
    for turn in turns(state, block):
        operator, tokens, counter, choice = turn
        if choice == operator.plain:
            continue
        if operator.kind != "attention":
            names.append(operator.name)
        axis = None if axes is None else axes.get(operator.name)
        reason = operator.violation(i, tokens, counter, choice, axis)
        if reason is None and rules:
            reason = broken_rule(turn, rules)
        if reason is not None:
            reasons.append(reason)
        listed = axis.choices if axis is not None and i in axis.blocks else ()
        gene = choice if axis is None else operator.encode_gene(tokens, counter, choice, axis)
        if axes is not None and gene not in listed:
            reasons.append(f"the space lists no {operator.field} {operator.text(choice)} here")
    if len(names) > 1:
        reasons.append(f"a block cannot both {' and '.join(names)}")
    return reasons


def block_choices(
    i: int, state: State, axes: Mapping[str, Axis], rules: Rules = NO_RULES
) -> list[tuple[BlockArch, State]]:
    """List the canonical choices of block `i` at a state, in gene order, and the states after it.

    Gene order is that of the operators, each with its plain choice first.
    """
    partial: list[tuple[BlockArch, Tokens]] = [(PLAIN, state.tokens)]
    for operator, counter in zip(operators(), state.counters, strict=True):
        axis = axes.get(operator.name)
        extended = []
        for block, tokens in partial:
            free = operator.kind == "attention" or block is PLAIN
            plain = Turn(operator, tokens, counter, operator.plain)
            others = _allowed_choices(i, plain, axis, rules) if free else ()
            for choice in (operator.plain, *others):
                chosen = block if choice == operator.plain else operator.put(block, choice)
                after, _ = operator.advance(tokens, counter, choice)
                extended.append((chosen, after))
        partial = extended
    return [(block, advance(state, block)) for block, _ in partial]


def _allowed_choices(i: int, plain: Turn, axis: Axis | None, rules: Rules) -> Iterator[Any]:
    """Yield the canonical choices of an axis, other than the plain one, that block `i` may make."""
    operator, tokens, counter, _ = plain
    distinct = {operator.plain}
    for listed in axis.choices if axis is not None and i in axis.blocks else ():
        choice = operator.canonical(tokens, counter, listed, axis)
        if choice in distinct:
            continue
        distinct.add(choice)
        reason = operator.violation(i, tokens, counter, choice, axis)
        if reason is None and rules:
            reason = broken_rule(plain._replace(choice=choice), rules)
        if reason is None:
            yield choice


class Trace(NamedTuple):
    """The states along an arch.

    Args:
        states: The states before each block and after the last one.
        blocks: The blocks in canonical form.
    """

    states: tuple[State, ...]
    blocks: tuple[BlockArch, ...]


@cached(1 << 12)
def trace(arch: Arch, shape: BackboneShape) -> Trace:
    """Compute the states along an arch.

    Raises:
        InputError: The arch has another depth than the backbone, or breaks a rule.
    """
    if arch.depth != shape.depth:
        raise InputError(f"the arch has {arch.depth} blocks, the backbone {shape.depth}")
    states, blocks = [initial_state(shape)], []
    for i, choice in enumerate(arch.blocks):
        block, reasons = _check_block(i == 0, states[-1], choice)
        if reasons:
            raise InputError(f"blocks[{i}]: {'; '.join(reasons)}")
        states.append(advance(states[-1], block))
        blocks.append(block)
    return Trace(tuple(states), tuple(blocks))


@cached(1 << 16)
def _check_block(first: bool, state: State, block: BlockArch) -> tuple[BlockArch, tuple[str, ...]]:
    """Return the canonical form of a block, and why it is invalid (as block 0 if `first`).

    Without axes no rule tells later blocks apart, so that they share what is cached.
    """
    block = canonical_block(state, block, {})
    return block, tuple(violations(0 if first else 1, state, block))
