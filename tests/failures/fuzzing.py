"""The kinds of files that the tool reads: valid ones, inputs made of them, and the real readers."""

import contextlib
import hashlib
import io
import json
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
import yaml
from mutations import BATCH, RAW_JSON, RAW_YAML, as_json, as_yaml, bent, damaged, trees

from supernet.training.checkpoint import MARK


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    Args:
        name: of the kind.
        file: where it lies in the folder of an example.
        form: `yaml`, `json`, `lines` (of JSON), `torch`, `signed` (torch's, and a checksum) or
            `safetensors`.
        read: does with the folder of an example what the tool does.
        share: of all inputs, in per cent.
        named: whether an error names the file, as it must where the file is at fault.
    """

    name: str
    file: str
    form: str
    read: Callable[[Path], object]
    share: int
    named: bool = True


# Of so many inputs one is as it should be, and is to be accepted.
WHOLE = 25


class Maker:
    """Makes inputs of a kind: each from the kind and its number alone.

    Args:
        kind: what is made.
        folders: examples, as the real code has left them.
    """

    def __init__(self, kind: Kind, folders: list[Path]) -> None:
        self.kind = kind
        self.folders = folders
        self.seeds = [(folder / kind.file).read_bytes() for folder in folders]

    def input(self, number: int) -> bytes:
        """Input `number`: of four one is made of bytes, one of hypothesis' trees, two of trees."""
        rng = random.Random(f"{self.kind.name} {number}")
        seed = self.seeds[self.example(number)]
        if number % WHOLE == WHOLE - 1:
            return seed
        if number % 4 == 0 or (number % 4 == 1 and self.kind.form in ("torch", "signed")):
            return self._damaged(rng, seed, number % 8 == 0)
        if number % 4 == 1:
            return self._grown(rng, number // 4)
        return BENDS[self.kind.form](rng, seed)

    def example(self, number: int) -> int:
        """Which example input `number` is laid into."""
        return number // 4 % len(self.folders)

    def _damaged(self, rng: random.Random, seed: bytes, inside: bool) -> bytes:
        if self.kind.form == "signed" and inside:
            # With the right checksum, so that what reads the file itself has to cope.
            return signed(damaged(rng, seed[: -len(MARK) - 32], self.seeds))
        return damaged(rng, seed, self.seeds)

    def _grown(self, rng: random.Random, number: int) -> bytes:
        batch = trees(self._keys, number // BATCH)
        tree = batch[number % len(batch)]
        if self.kind.form == "yaml":
            return as_yaml(rng, tree)
        if self.kind.form == "safetensors":
            return with_header(as_json(tree), bytes(64))
        return as_json(tree) + b"\n"

    @cached_property
    def _keys(self) -> tuple[str, ...]:
        """Keys that valid files have, shortest paths first."""
        found: dict[str, None] = {}
        for seed in self.seeds:
            for tree in TREES[self.kind.form](seed):
                level = [tree]
                while level:
                    found |= {key: None for each in level if isinstance(each, dict) for key in each}
                    level = [child for each in level for child in _children(each)]
        return tuple(found)[:40]


def _children(tree):
    if isinstance(tree, dict):
        return list(tree.values())
    return tree if isinstance(tree, list) else []


def signed(data: bytes) -> bytes:
    """A checkpoint's bytes with the checksum that belongs to them."""
    return data + MARK + hashlib.sha256(data).digest()


def with_header(header: bytes, data: bytes) -> bytes:
    """A safetensors file of that header."""
    return len(header).to_bytes(8, "little") + header + data


def _header(seed: bytes) -> tuple[bytes, bytes]:
    length = int.from_bytes(seed[:8], "little")
    return seed[8 : 8 + length], seed[8 + length :]


def _bent_yaml(rng: random.Random, seed: bytes) -> bytes:
    return as_yaml(rng, bent(rng, yaml.safe_load(seed), len(RAW_YAML)))


def _bent_json(rng: random.Random, seed: bytes) -> bytes:
    return as_json(bent(rng, json.loads(seed), len(RAW_JSON))) + b"\n"


def _bent_lines(rng: random.Random, seed: bytes) -> bytes:
    lines = seed.splitlines(keepends=True)
    for _ in range(rng.choice((1, 1, 2))):
        i = rng.randrange(len(lines))
        way = rng.randrange(6)
        if way == 0:
            lines.insert(rng.randrange(len(lines) + 1), lines[i])
        elif way == 1 and len(lines) > 1:
            del lines[i]
        else:
            with contextlib.suppress(ValueError, RecursionError):  # bent already
                lines[i] = _bent_json(rng, lines[i])
    return b"".join(lines)


def _bent_safetensors(rng: random.Random, seed: bytes) -> bytes:
    header, data = _header(seed)
    tree = bent(rng, json.loads(header), len(RAW_JSON))
    for entry in tree.values() if isinstance(tree, dict) else ():
        if rng.random() < 0.1 and isinstance(entry, dict) and "dtype" in entry:
            entry["dtype"] = rng.choice(DTYPES)
    return with_header(as_json(tree), data)


DTYPES = ("F64", "F32", "F16", "BF16", "I64", "I8", "U8", "BOOL", "U64", "C64", "F4", "F8_E4M3")


def _bent_torch(rng: random.Random, seed: bytes) -> bytes:
    state = torch.load(io.BytesIO(seed), weights_only=True)
    file = io.BytesIO()
    tree = bent(rng, _plain(state), 0)
    torch.save(_tensors(rng, tree), file, _use_new_zipfile_serialization=rng.random() < 0.9)
    return file.getvalue()


def _plain(value):
    """Trees to bend: tuples as lists, tensors as they are."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value


def _tensors(rng: random.Random, tree):
    """The tree, where some tensors are others."""
    if isinstance(tree, dict):
        return {key: _tensors(rng, each) for key, each in tree.items()}
    if isinstance(tree, list):
        return [_tensors(rng, each) for each in tree]
    if not isinstance(tree, torch.Tensor) or rng.random() > 0.01:
        return tree
    others = (
        tree.double,
        lambda: tree.flatten()[:1],
        lambda: torch.full_like(tree, float("nan"), dtype=torch.float32),
        lambda: tree.to(torch.complex64),
        lambda: torch.zeros(1).expand(1 << 40),
        lambda: torch.empty(3, 3, device="meta"),
        lambda: tree.to(torch.float32).to_sparse(),
        tree.bool,
        lambda: torch.zeros(0),
        lambda: tree.unsqueeze(0),
    )
    return rng.choice(others)()


BENDS = {
    "yaml": _bent_yaml,
    "json": _bent_json,
    "lines": _bent_lines,
    "safetensors": _bent_safetensors,
    "torch": _bent_torch,
    "signed": lambda rng, seed: signed(_bent_torch(rng, seed[: -len(MARK) - 32])),
}
TREES = {
    "yaml": lambda seed: [yaml.safe_load(seed)],
    "json": lambda seed: [json.loads(seed)],
    "lines": lambda seed: [json.loads(line) for line in seed.splitlines()],
    "safetensors": lambda seed: [json.loads(_header(seed)[0])],
}


class Place:
    """The folder that inputs of a kind are laid into and read from, as the tool would.

    Args:
        maker: of the inputs.
        folder: taken for this.
    """

    def __init__(self, maker: Maker, folder: Path) -> None:
        self.maker, self.folder = maker, folder

    def read(self, number: int) -> None:
        """Make an input and read it."""
        self.lay(number, self.maker.input(number))
        self.maker.kind.read(self.folder)

    def lay(self, number: int, data: bytes) -> Path:
        """The file of the input, with all that its example has beside it."""
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(self.maker.folders[self.maker.example(number)], self.folder)
        file = self.folder / self.maker.kind.file
        file.write_bytes(data)
        return file
