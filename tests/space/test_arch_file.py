"""Arch files: what is saved is what is loaded, and nothing is ever half written."""

import datetime
import os
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from space_toys import deit_small, random_genes, random_space, randoms

from space import (
    Arch,
    ArchFile,
    BlockArch,
    Genes,
    InputError,
    Pool,
    load_arch,
    load_arch_file,
    macs,
    params,
    save_arch,
    token_counts,
)

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
numbers = st.integers(-(10**30), 10**30) | st.floats(allow_nan=False)
values = st.recursive(
    st.none() | st.booleans() | numbers | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=6,
)
mappings = st.dictionaries(text, values, max_size=4)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("files") / "arch.yaml"


@pytest.fixture
def arch():
    blocks = {
        3: BlockArch(attention="shared"),
        4: BlockArch(pool=Pool("conv2d", grid=(7, 7))),
        6: BlockArch(skip=0.25, selector="cls"),
        7: BlockArch(skip=0.25, attention="shared"),
        9: BlockArch(pool=Pool("avg1d", stride=3)),
    }
    return Arch(tuple(blocks.get(i, BlockArch()) for i in range(12)))


@given(randoms)
def test_an_arch_is_loaded_as_it_was_saved(path, rng):
    space = random_space(rng)
    arch = Genes(space).decode(random_genes(rng, space))
    save_arch(arch, path, shape=space.shape)
    assert load_arch(path) == arch
    assert load_arch_file(path) == ArchFile(arch, space.shape)


channels = st.lists(st.floats(0, 1), min_size=1, max_size=4)
inputs = st.fixed_dictionaries(
    {},
    optional={
        "size": st.lists(st.integers(1, 512), min_size=3, max_size=3),
        "mean": channels,
        "std": channels,
        "crop_pct": st.floats(0.1, 1),
        "crop_mode": st.sampled_from(["center", "squash", "border"]),
        "interpolation": st.sampled_from(["bicubic", "bilinear", "nearest", "lanczos"]),
    },
)


@given(st.tuples(mappings, inputs, mappings, mappings), st.lists(text, max_size=5))
def test_all_that_is_said_beside_the_arch_is_loaded_as_saved(path, given, classes):
    arch, shape = Arch.full(12), deit_small()
    extras = dict(zip(("backbone", "input", "metrics", "origin"), given, strict=True))
    extras["classes"] = classes
    save_arch(arch, path, shape=shape, **extras)
    assert load_arch_file(path) == ArchFile(arch, shape, **extras)


@given(st.floats(0, 1, exclude_max=True))
def test_every_skip_ratio_survives(path, skip):
    shape = deit_small(depth=2)
    arch = Arch((BlockArch(), BlockArch(skip=skip)))
    save_arch(arch, path, shape=shape)
    assert load_arch(path) == arch


@pytest.mark.parametrize("values", [{"crop": 0.9}, {"size": [3, 0, 32]}, {"mean": [True]}])
def test_an_input_that_cannot_be_is_not_saved(tmp_path, arch, values):
    path, (key,) = tmp_path / "arch.yaml", values
    with pytest.raises(InputError, match=rf"^input\.{key}"):
        save_arch(arch, path, shape=deit_small(), input=values)
    assert not path.exists()


def test_means_below_0_are_kept(path, arch):
    save_arch(arch, path, shape=deit_small(), input={"mean": [-0.5, 0.0, 2.0]})
    assert load_arch_file(path).input == {"mean": [-0.5, 0.0, 2.0]}


def test_the_file_is_what_the_format_says(path, arch):
    shape = deit_small()
    save_arch(
        arch,
        path,
        shape=shape,
        backbone={"model": "deit_small_patch16_224", "args": {"num_classes": 1000}},
        input={"size": [3, 224, 224]},
        classes=["cat", "no", "12"],
        metrics={"top1": 0.79},
        origin={"trial": 123, "seed": 0},
    )
    data = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert list(data) == (
        ["schema", "backbone", "input", "classes", "metrics", "origin", "shape", "blocks", "cost"]
    )
    assert data["schema"] == "tokennas/arch/1"
    assert data["shape"] == shape.to_dict()
    assert data["blocks"][2:5] == [
        {},
        {"attention": "shared"},
        {"pool": {"kind": "conv2d", "grid": [7, 7]}},
    ]
    assert data["blocks"][6:10] == [
        {"skip": 0.25, "selector": "cls"},
        {"skip": 0.25, "selector": "map", "attention": "shared"},
        {},
        {"pool": {"kind": "avg1d", "stride": 3}},
    ]
    assert data["cost"] == {
        "macs": macs(arch, shape),
        "params": params(arch, shape),
        "patch_tokens": token_counts(arch, shape),
    }
    assert data["classes"] == ["cat", "no", "12"]


def test_what_is_left_out_is_empty(path):
    save_arch(Arch.full(12), path, shape=deit_small(), classes=[], origin={})
    file = load_arch_file(path)
    assert [file.backbone, file.input, file.metrics, file.origin] == [{}] * 4
    assert file.classes == []
    assert "origin" not in path.read_text(encoding="utf-8")


def test_null_is_as_good_as_left_out(path):
    save_arch(Arch.full(12), path, shape=deit_small())
    before = load_arch_file(path)
    more = "backbone:\ninput: ~\nclasses: null\nmetrics: {}\norigin:\n"
    path.write_text(path.read_text(encoding="utf-8") + more, encoding="utf-8")
    assert load_arch_file(path) == before


def test_paths_may_be_text(path, arch):
    save_arch(arch, str(path), shape=deit_small())
    assert load_arch(str(path)) == load_arch(Path(path)) == arch


def test_an_arch_that_breaks_a_rule_is_not_saved_and_leaves_the_old_file(tmp_path, arch):
    path = tmp_path / "arch.yaml"
    save_arch(arch, path, shape=deit_small())
    before = path.read_bytes()
    shared = Arch((BlockArch(attention="shared"),) * 12)
    for wrong in (shared, Arch.full(11)):
        with pytest.raises(InputError):
            save_arch(wrong, path, shape=deit_small())
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["arch.yaml"]  # noqa: PTH208


@pytest.mark.parametrize(
    "metrics",
    [
        {"top1": np.float64(0.5)},
        {"n": np.int64(3)},
        {"x": object()},
        {"name": "\ud800"},
        {"date": datetime.date(2024, 1, 1)},
        {"raw": b"bytes"},
        {3: "key"},
        {"long": 10**99},
        {"large": "x" * (1 << 20)},
    ],
    ids=lambda metrics: next(iter(map(str, metrics))),
)
def test_what_is_no_plain_value_is_not_saved_and_leaves_the_old_file(tmp_path, arch, metrics):
    path = tmp_path / "arch.yaml"
    save_arch(arch, path, shape=deit_small())
    before = path.read_bytes()
    with pytest.raises(InputError) as caught:
        save_arch(arch, path, shape=deit_small(), metrics=metrics)
    assert str(caught.value).startswith(str(path))
    assert len(str(caught.value).splitlines()) == 1
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["arch.yaml"]  # noqa: PTH208


def test_a_write_that_fails_half_way_leaves_the_old_file(tmp_path, arch, monkeypatch):
    path = tmp_path / "arch.yaml"
    save_arch(arch, path, shape=deit_small())
    before = path.read_bytes()

    def full_disk(_):
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(InputError, match=r"arch\.yaml: cannot be written: no space left"):
        save_arch(Arch.full(12), path, shape=deit_small())
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["arch.yaml"]  # noqa: PTH208


def test_a_file_saved_over_another_replaces_it(tmp_path, arch):
    path = tmp_path / "arch.yaml"
    save_arch(arch, path, shape=deit_small())
    save_arch(Arch.full(12), path, shape=deit_small())
    assert load_arch(path) == Arch.full(12)
