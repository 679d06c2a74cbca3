"""Small backbones, random spaces and random archs.

Each generator takes a `random.Random`, so that a seed gives one and hypothesis can drive it too.
"""

import itertools
import math
import random
from dataclasses import replace

from hypothesis import strategies as st

from space import Arch, BackboneShape, BlockArch, Genes, Part, Pool, Rules, SearchSpace

KINDS_2D = ("avg2d", "max2d", "conv2d")
KINDS_1D = ("avg1d", "max1d", "conv1d")
SELECTORS = ("map", "cls", "random")
RATIOS = (0.999, 0.1, 0.25, 0.29, 0.3, 0.5, 0.75, 0.9)


def deit(width, heads, depth=12, grid=(14, 14), prefix=1):
    """DeiT at patch 16 with 1000 classes, from its width: each linear layer written out."""
    tokens = grid[0] * grid[1] + prefix
    return BackboneShape(
        depth=depth,
        width=width,
        heads=heads,
        attention_width=width,
        grid=grid,
        prefix=prefix,
        query_key=Part(2 * width * width, 2 * (width * width + width)),
        value_output=Part(2 * width * width, 2 * (width * width + width)),
        mlp=Part(8 * width * width, 8 * width * width + 5 * width),
        rest=Part(0, 4 * width),
        stem=Part(
            grid[0] * grid[1] * 768 * width, 768 * width + width + prefix * width + tokens * width
        ),
        head=Part(1000 * width, 2 * width + 1000 * width + 1000),
        head_per_token=0,
    )


def deit_small(depth=12):
    return deit(384, 6, depth)


def random_shape(rng, depth=5):
    """Small odd integers, so that costs tie often and no two terms are alike by design."""
    heads = rng.randint(1, 3)
    parts = {
        name: Part(rng.randint(0, 9), rng.randint(0, 99))
        for name in ("query_key", "value_output", "mlp", "rest", "stem", "head")
    }
    return BackboneShape(
        depth=rng.randint(1, depth),
        width=rng.randint(1, 8),
        heads=heads,
        attention_width=heads * rng.randint(1, 4),
        grid=(rng.randint(1, 6), rng.randint(1, 6)),
        prefix=rng.randint(0, 2),
        head_per_token=rng.randint(0, 5),
        **parts,
    )


def some(rng, values, most):
    """One to `most` of the values, in any order."""
    values = list(values)
    return rng.sample(values, rng.randint(1, min(most, len(values))))


def random_space(rng, depth=5, ruled=True, selectors=SELECTORS):
    """A space over a random backbone in which every rule and every no-op turns up.

    Without `ruled` it has no rules of its own.
    """
    shape = random_shape(rng, depth)
    values = {}
    if rng.random() < 0.7:
        values["pool"] = _random_pool(rng, shape)
    if shape.depth > 1 and rng.random() < 0.7:
        blocks = rng.choice(["all", some(rng, range(1, shape.depth), depth)])
        values["share"] = {"blocks": blocks, "max_run": rng.randint(1, 3)}
    if shape.depth > 1 and rng.random() < 0.7:
        values["skip"] = {
            "blocks": rng.choice(["all", some(rng, range(1, shape.depth), depth)]),
            "ratios": some(rng, RATIOS, 3),
            "selectors": some(rng, selectors, 2),
            "max_run": rng.randint(1, 3),
        }
    space = SearchSpace.from_dict(values, shape)
    return replace(space, rules=random_rules(rng)) if ruled else space


def random_rules(rng):
    return Rules(keep_grid=rng.random() < 0.1, keep_2d=rng.random() < 0.3)


def _random_pool(rng, shape):
    height, width = shape.grid
    grids = list(itertools.product(range(1, height + 1), range(1, width + 1)))
    grids.remove(shape.grid)
    kinds = some(rng, KINDS_1D + (KINDS_2D if grids else ()), 3)
    values = {"blocks": some(rng, range(shape.depth), 5), "kinds": kinds}
    if any(kind in KINDS_2D for kind in kinds):
        half = (math.ceil(height / 2), math.ceil(width / 2))
        chosen = some(rng, grids, 3) + [half] * ("conv2d" in kinds)
        values["grids"] = [list(grid) for grid in dict.fromkeys(chosen) if grid in grids]
    if "conv1d" in kinds:
        values["strides"] = [2]
    elif any(kind in KINDS_1D for kind in kinds):
        values["strides"] = some(rng, range(2, 7), 3)
    return values | {"max_pools": rng.randint(1, 3)}


def random_block(rng, shape, selectors=SELECTORS):
    """Any block whose values are right alone; a rule may well forbid it."""
    pool = None
    if rng.random() < 0.3:
        kind = rng.choice(KINDS_2D + KINDS_1D)
        if kind in KINDS_2D:
            pool = Pool(kind, grid=tuple(rng.randint(1, side) for side in shape.grid))
        else:
            pool = Pool(kind, stride=2 if kind == "conv1d" else rng.randint(2, 6))
    return BlockArch(
        pool=pool,
        skip=rng.choice((0, 0.0, 0.001, *RATIOS)) if rng.random() < 0.4 else 0.0,
        selector=rng.choice(selectors),
        attention=rng.choice(("own", "own", "shared")),
    )


def random_genes(rng, space):
    return {gene: rng.choice(values) for gene, values in Genes(space).categories.items()}


def random_arch(rng, space, selectors=SELECTORS):
    """An arch of the space with up to two blocks replaced: valid or nearly so."""
    blocks = list(Genes(space).decode(random_genes(rng, space)).blocks)
    for _ in range(rng.randint(0, 2)):
        blocks[rng.randrange(len(blocks))] = random_block(rng, space.shape, selectors)
    return Arch(tuple(blocks))


def seeded_spaces(count, least=1, most=1 << 62, depth=5, **options):
    """`count` random spaces with `least` to `most` archs, always the same ones."""
    found = (random_space(random.Random(seed), depth, **options) for seed in itertools.count())
    return list(itertools.islice((s for s in found if least <= s.size() <= most), count))


def deviation(counts, expected):
    """How far observed counts are from expected ones, in standard deviations of chi-square."""
    chi_square = sum((seen - e) ** 2 / e for seen, e in zip(counts, expected, strict=True))
    freedom = len(expected) - 1
    return (chi_square - freedom) / math.sqrt(2 * freedom)


randoms = st.randoms(use_true_random=False)
