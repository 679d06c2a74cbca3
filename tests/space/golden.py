"""What the space gives at fixed seeds, as short hashes: results that stored runs rest on.

python tests/space/golden.py     # writes golden.json beside it, where a change is meant
"""

import hashlib
import json
import random
import sys
from pathlib import Path

import numpy as np

sys.path.append(str(Path(__file__).parent))

from space_toys import SELECTORS, deit_small, random_arch, random_genes, seeded_spaces

from space import Genes, SearchSpace, baselines, load_arch, macs, params, save_arch, token_counts
from space.cost import activation_memory

FILE = Path(__file__).with_name("golden.json")
SPACES = 60
DRAWS = 12
DEIT = {
    "pool": {
        "kinds": ["avg2d", "max2d", "conv2d", "avg1d", "max1d", "conv1d"],
        "grids": [10, 7, 4],
        "strides": [2],
    },
    "share": {"max_run": 3},
    "skip": {"ratios": [0.25, 0.5, 0.75], "selectors": ["map", "cls"], "max_run": 3},
}


def golden(space, folder, seed, selectors):
    """Size, draws, bands, costs, identities, genes, hand-made archs and files of one space."""
    rng, genes = np.random.default_rng(seed), Genes(space)
    drawn = [space.sample(rng) for _ in range(DRAWS)]
    bands = space.mac_bands
    middle = (bands.low + bands.high) / 2
    banded = [bands.sample_evenly(rng) for _ in range(DRAWS)]
    if bands.count(bands.low, middle).value:
        banded += [space.sample(rng, macs=(bands.low, middle)) for _ in range(DRAWS)]
    assigned = [random_genes(random.Random(seed + i), space) for i in range(DRAWS)]
    archs = [*drawn, *banded, *map(genes.decode, assigned), space.smallest(), space.largest()]
    kernels = [
        (i, kind, repr(part.sample_evenly(rng))) for (i, kind), part in space.kernel_bands.items()
    ]
    others = [random_arch(random.Random(seed + i), space, selectors) for i in range(DRAWS)]
    path = folder / "arch.yaml"
    texts = []
    for arch in archs[:4]:
        save_arch(arch, path, shape=space.shape)
        assert load_arch(path) == arch
        texts.append(path.read_text(encoding="utf-8"))
    parts = {
        "size": space.size(),
        "axes": space.to_dict(),
        "counts": [bands.count(bands.low, middle), *bands.histogram(4)],
        "archs": list(map(repr, archs)),
        "kernels": kernels,
        "macs": [macs(arch, space.shape) for arch in archs],
        "params": [params(arch, space.shape) for arch in archs],
        "tokens": [token_counts(arch, space.shape) for arch in archs],
        "memory": [activation_memory(arch, space.shape) for arch in archs],
        "identities": [space.identity(arch) for arch in archs],
        "canonical": [repr(space.canonical(arch)) for arch in others if arch in space],
        "inside": [arch in space for arch in others],
        "categories": genes.categories,
        "encoded": [genes.encode(arch) for arch in archs],
        "hand-made": [
            (each.name, repr(each.arch), each.floor) for each in baselines(space, middle)
        ],
        "files": texts,
    }
    return {name: _hash(value) for name, value in parts.items()}


def all_golden(folder):
    """The hashes of spaces, first of those from before there were rules and random selectors."""
    before = seeded_spaces(SPACES, most=1 << 40, ruled=False, selectors=SELECTORS[:2])
    before.append(SearchSpace.from_dict(DEIT, deit_small()))
    since = [space for space in seeded_spaces(SPACES, most=1 << 40) if space.rules]
    parts = [(space, SELECTORS[:2]) for space in before] + [(space, SELECTORS) for space in since]
    return [golden(space, folder, seed, selectors) for seed, (space, selectors) in enumerate(parts)]


def _hash(value):
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:12]


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        FILE.write_text(json.dumps(all_golden(Path(name)), indent=0) + "\n", encoding="utf-8")
