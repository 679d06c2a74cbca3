"""The rules, the canonical form and the costs once more: slow, plain, and apart from `space`.

Written from the definition of the operators. Nothing of `space` but its plain values is used.
"""

import itertools
import math
from decimal import Decimal

from space import Arch, BlockArch, Pool

TAPS = {"conv2d": 9, "conv1d": 3}


def kept(skip, tokens):
    return tokens - int(Decimal(repr(float(skip))) * tokens)


def pooled(pool, tokens):
    """Grid and tokens after a pooling."""
    if pool.grid:
        return pool.grid, math.prod(pool.grid)
    return None, math.ceil(tokens / pool.stride)


def tokens_before(arch, shape):
    """Grid and tokens that each block finds, before its own pooling."""
    grid, tokens, found = shape.grid, math.prod(shape.grid), []
    for block in arch.blocks:
        found.append((grid, tokens))
        if block.pool:
            grid, tokens = pooled(block.pool, tokens)
    return found


def token_counts(arch, shape):
    seen = []
    for block, (_, tokens) in zip(arch.blocks, tokens_before(arch, shape), strict=True):
        there = pooled(block.pool, tokens)[1] if block.pool else tokens
        seen.append(kept(block.skip, there))
    return seen


def tokens_at_the_end(arch, shape):
    longer = Arch((*arch.blocks, BlockArch()))
    return tokens_before(longer, shape)[-1][1]


def starts_run(arch, i):
    return arch.blocks[i].skip > 0 and (i == 0 or arch.blocks[i - 1].skip == 0)


def macs(arch, shape):
    total = shape.stem.macs + shape.head.macs
    total += tokens_at_the_end(arch, shape) * shape.head_per_token
    counts, before = token_counts(arch, shape), tokens_before(arch, shape)
    for i, block in enumerate(arch.blocks):
        n = counts[i] + shape.prefix
        if block.pool:
            total += TAPS.get(block.pool.kind, 0) * shape.width * counts[i]
        if starts_run(arch, i):
            everything = before[i][1] + shape.prefix
            if block.selector == "map":
                total += 2 * shape.heads**2 * everything**2
            elif block.selector == "cls":
                total += shape.attention_width * everything
        if block.attention == "own":
            total += n * shape.query_key.macs
            total += n * n * shape.attention_width
        total += n * n * shape.attention_width
        total += n * shape.value_output.macs
        total += n * shape.mlp.macs
    return total


def params(arch, shape):
    total = shape.stem.params + shape.head.params
    for i, block in enumerate(arch.blocks):
        total += shape.value_output.params + shape.mlp.params + shape.rest.params
        if block.attention == "own":
            total += shape.query_key.params
        if block.pool:
            total += TAPS.get(block.pool.kind, 0) * shape.width
        if starts_run(arch, i) and block.selector == "map":
            first, second = shape.heads * shape.heads + shape.heads, shape.heads * shape.heads
            total += first + second
    return total


def canonical(arch, space):
    """Left to right: pool, then skip, each on the tokens that are there."""
    grid, tokens, blocks = space.shape.grid, math.prod(space.shape.grid), []
    for block in arch.blocks:
        pool, skip, selector = block.pool, block.skip, block.selector
        if pool:
            after = pooled(pool, tokens)
            unchanged = after == (grid, tokens) if pool.grid else after[1] == tokens
            if unchanged:
                pool = None
            else:
                if pool.stride and "pool" in space.axes and pool.kind in space.axes["pool"].kinds:
                    same = [
                        s for s in space.axes["pool"].strides if math.ceil(tokens / s) == after[1]
                    ]
                    pool = Pool(pool.kind, stride=min(same)) if same else pool
                grid, tokens = after
        k = kept(skip, tokens)
        if k == tokens:
            skip = 0.0
        elif "skip" in space.axes:
            same = [ratio for ratio in space.axes["skip"].ratios if kept(ratio, tokens) == k]
            skip = min(same) if same else skip
        in_run = blocks and blocks[-1].skip > 0
        if skip == 0 or in_run:
            selector = "map"
        blocks.append(BlockArch(pool, skip, selector, block.attention))
    return Arch(tuple(blocks))


def run_length(flags, i):
    """How many in a row are set, up to and with the i-th."""
    return 0 if not flags[i] else 1 + (run_length(flags, i - 1) if i else 0)


def valid(arch, space):
    """Whether a canonical arch breaks no rule and uses listed choices alone."""
    blocks = range(arch.depth)
    return keeps(arch, space.shape, space.rules) and all(
        listed(arch, space, i) and rules_hold(arch, space, i) for i in blocks
    )


def keeps(arch, shape, rules):
    """Whether a canonical arch keeps the rules of a space, by the tokens at its end alone."""
    grid, tokens = tokens_before(Arch((*arch.blocks, BlockArch())), shape)[-1]
    if rules.keep_grid and tokens < math.prod(shape.grid):
        return False
    return grid is not None or not (rules.keep_grid or rules.keep_2d)


def rules_hold(arch, space, i):
    blocks, block = arch.blocks, arch.blocks[i]
    skips = [b.skip > 0 for b in blocks]
    shares = [b.attention == "shared" for b in blocks]
    counts = token_counts(arch, space.shape)
    if shares[i]:
        same_tokens = i > 0 and skips[i] == skips[i - 1]
        if not same_tokens or block.pool or run_length(shares, i) > space.axes["share"].max_run:
            return False
    if skips[i]:
        if i == 0 or block.pool or run_length(skips, i) > space.axes["skip"].max_run:
            return False
        if skips[i - 1] and counts[i] != counts[i - 1]:
            return False
        if not skips[i - 1] and shares[i - 1]:
            return False
    return not block.pool or pool_holds(arch, space, i)


def pool_holds(arch, space, i):
    pool, (grid, tokens) = arch.blocks[i].pool, tokens_before(arch, space.shape)[i]
    if sum(1 for b in arch.blocks[: i + 1] if b.pool) > space.axes["pool"].max_pools:
        return False
    if pool.grid is None:
        return pooled(pool, tokens)[1] < tokens
    if grid is None or pool.grid == grid:
        return False
    if pool.kind == "conv2d":
        return pool.grid == (math.ceil(grid[0] / 2), math.ceil(grid[1] / 2))
    return pool.grid[0] <= grid[0] and pool.grid[1] <= grid[1]


def listed(arch, space, i):
    block = arch.blocks[i]
    if block.pool and not (
        "pool" in space.axes
        and i in space.axes["pool"].blocks
        and block.pool in listed_pools(space.axes["pool"])
    ):
        return False
    if block.skip:
        if not (
            "skip" in space.axes
            and i in space.axes["skip"].blocks
            and block.skip in space.axes["skip"].ratios
        ):
            return False
        if starts_run(arch, i) and block.selector not in space.axes["skip"].selectors:
            return False
    return block.attention == "own" or bool(
        "share" in space.axes and i in space.axes["share"].blocks
    )


def listed_pools(axis):
    return [
        pool
        for kind in axis.kinds
        for pool in (
            [Pool(kind, grid=grid) for grid in axis.grids]
            if kind.endswith("2d")
            else [Pool(kind, stride=stride) for stride in axis.strides]
        )
    ]


def raw_choices(space, i):
    """Every product of what the axes list for a block, allowed or not, in gene order."""
    pools, skips, attentions = [None], [(0.0, "map")], ["own"]
    if "pool" in space.axes and i in space.axes["pool"].blocks:
        pools += listed_pools(space.axes["pool"])
    if "skip" in space.axes and i in space.axes["skip"].blocks:
        skips += itertools.product(space.axes["skip"].ratios, space.axes["skip"].selectors)
    if "share" in space.axes and i in space.axes["share"].blocks:
        attentions.append("shared")
    return [BlockArch(p, s, name, a) for p in pools for s, name in skips for a in attentions]


def raw_archs(space):
    per_block = [raw_choices(space, i) for i in range(space.shape.depth)]
    return map(Arch, itertools.product(*per_block))


def raw_size(space):
    return math.prod(len(raw_choices(space, i)) for i in range(space.shape.depth))
