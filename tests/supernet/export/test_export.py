"""Exported files compute what the subnet does, or are not there."""

import copy
import json
from dataclasses import replace

import pytest
import torch
from dense_toys import SECTIONS, dense_images, dense_supernet, save_dense
from supernet_toys import (
    ARCHS_WITH_ALL,
    OWN,
    SHARED,
    build_supernet,
    close,
    drawn,
    export,
    hand_made,
    images_for,
    named_supernet,
    pool,
    skip,
)

from space import Arch, InputError
from supernet import create_subnet, extract
from supernet.export import FORMATS, Check, export_subnet, formats
from supernet.export.compare import compare
from supernet.operators import skipping
from supernet.operators.selection import choose, choose_at_random

ABOUT = {"label_names": ["a", "b"], "pretrained_cfg": {"mean": [0.1, 0.2, 0.3]}}
SELECTING = Arch((OWN, skip(0.8, "cls"), OWN, skip(), OWN, SHARED))
BY_CHANCE = Arch((OWN, skip(0.8, "random"), skip(0.8), OWN, skip(0.5, "random"), OWN))


def subnet_of(arch=SELECTING, name="class token"):
    return extract(build_supernet(name, torch.float32), arch)


def images(subnet, count=20, seed=0):
    return images_for(subnet, count, seed, torch.float32)


def left(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_tokens_that_are_told_are_those_that_are_chosen(monkeypatch):
    seen = []

    def told(importance, k):
        seen.append(choose(importance, k))
        return seen[-1]

    def told_at_random(*args):
        seen.append(choose_at_random(*args).expand(3, -1))
        return seen[-1][0]

    monkeypatch.setattr(skipping, "choose", told)
    monkeypatch.setattr(skipping, "choose_at_random", told_at_random)
    net = named_supernet()
    for arch in [*hand_made(net.shape), *drawn(net.space, 20)]:
        seen.clear()
        subnet = extract(net, arch)
        logits, chosen = subnet.forward_with_choices(images(subnet, 3))
        assert len(chosen) == len(seen) == subnet.runs
        assert all(map(torch.equal, chosen, seen))
        assert torch.equal(logits, net(images(subnet, 3), arch))


EQUAL = Check(images=20, runs=2, differing=0, difference=0.0)


def test_exported_weights_are_read_by_create_subnet(tmp_path):
    file, _, subnet = export(tmp_path, SELECTING)
    path = tmp_path / "model.safetensors"
    # In training, and in another precision: what is written is float32, to evaluate.
    given = copy.deepcopy(subnet).double().train()
    assert export_subnet(given, path, "safetensors", images(subnet), ABOUT) == EQUAL
    again = create_subnet(file, path).eval()
    assert torch.equal(again(images(subnet)), subnet(images(subnet)))


@pytest.mark.parametrize("arch", [SELECTING, BY_CHANCE], ids=["selecting", "by chance"])
def test_a_program_needs_nothing_of_ours_and_takes_any_batch(tmp_path, arch):
    subnet, path = subnet_of(arch), tmp_path / "model.pt2"
    assert export_subnet(subnet, path, "torch-export", images(subnet), ABOUT) == EQUAL
    assert left(tmp_path) == ["model.pt2"]
    about = {"config.json": ""}
    model = torch.export.load(path, extra_files=about).module()
    assert json.loads(about["config.json"]) == ABOUT
    for count in (1, 3, 7):
        close(model(images(subnet, count)), subnet(images(subnet, count)), 1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "place"),
    [("class token", 0), ("average pooling", 1), ("registers", 2), ("distilled", 0), ("hybrid", 0)],
)
def test_an_onnx_graph_needs_nothing_of_ours_and_takes_any_batch(tmp_path, name, place):
    pytest.importorskip("onnxscript")
    onnxruntime = pytest.importorskip("onnxruntime")
    subnet = subnet_of(ARCHS_WITH_ALL[place], name)
    check = export_subnet(subnet, tmp_path / "model.onnx", "onnx", images(subnet), ABOUT)
    assert (check.images, check.runs, check.share) == (20, subnet.runs, 0.0)
    assert 0 < check.difference < 1e-5
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    assert [(each.name, each.shape[0]) for each in session.get_inputs()] == [("images", "batch")]
    assert [each.name for each in session.get_outputs()] == ["logits"]
    assert json.loads(session.get_modelmeta().custom_metadata_map["config.json"]) == ABOUT
    for count in (1, 3, 7):
        (logits,) = session.run(["logits"], {"images": images(subnet, count).numpy()})
        close(torch.from_numpy(logits), subnet(images(subnet, count)), 1e-4)


DENSE = [
    Arch((OWN, skip(0.5), skip(0.5), OWN)),
    Arch((OWN, pool("avg2d", (3, 4)), skip(0.25), pool("avg2d", (2, 3)))),
]
NAMES = {"segmentation": "logits"}


@pytest.mark.parametrize(
    ("section", "place"),
    [
        pytest.param(section, place, marks=[] if section == "depth" else pytest.mark.slow)
        for section, place in zip(SECTIONS, (0, 1, 1, 0), strict=True)
    ],
)
def test_dense_weights_and_programs_give_the_same_map(tmp_path, section, place):
    supernet = dense_supernet(section).eval()
    subnet, images = extract(supernet, DENSE[place]), dense_images(6)
    name = NAMES.get(section, "depth")
    file, _ = save_dense(tmp_path, supernet, DENSE[place], section)
    check = export_subnet(subnet, tmp_path / "model.safetensors", "safetensors", images, ABOUT)
    assert check == Check(6, 1, 0, 0.0, name)
    assert str(check).startswith(f"{name} within 0.0e+00 on 6 images, another selection in 0 of 6")
    again = create_subnet(file, tmp_path / "model.safetensors").eval()
    assert torch.equal(again(images), subnet(images))
    assert export_subnet(subnet, tmp_path / "model.pt2", "torch-export", images, ABOUT).equal
    model = torch.export.load(tmp_path / "model.pt2").module()
    for count in (1, 5):
        close(model(dense_images(count)), subnet(dense_images(count)), 1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("place", range(2))
@pytest.mark.parametrize("section", SECTIONS)
def test_a_dense_onnx_graph_names_its_output_and_takes_any_batch(tmp_path, section, place):
    pytest.importorskip("onnxscript")
    onnxruntime = pytest.importorskip("onnxruntime")
    subnet = extract(dense_supernet(section).eval(), DENSE[place])
    name = NAMES.get(section, "depth")
    path = tmp_path / "model.onnx"
    check = export_subnet(subnet, path, "onnx", dense_images(20), ABOUT)
    assert (check.runs, check.share, check.output_name) == (1, 0.0, name)
    assert check.difference < 1e-5
    session = onnxruntime.InferenceSession(path)
    assert [each.name for each in session.get_outputs()] == [name]
    for count in (1, 3, 7):
        images = dense_images(count)
        (found,) = session.run([name], {"images": images.numpy()})
        close(torch.from_numpy(found), subnet(images), 1e-4)


def otherwise(subnet, pairs=0, logits=0.0):
    """A network that says so much more, and in so many (image, run) pairs chooses otherwise."""
    count = 0

    def answer(shown):
        nonlocal count
        found, own = subnet.forward_with_choices(shown)
        chosen = [each.clone() for each in own]
        said = found + logits
        for i in range(len(shown)):
            if count < pairs:
                chosen[0][i] += 1
                # Where other tokens are chosen nobody asks for the same logits.
                said[i] += 5
                count += 1
        return said, chosen

    return answer


def test_where_other_tokens_are_chosen_logits_are_not_compared_but_counted():
    subnet = subnet_of()
    shown = images(subnet, 150)
    largest = subnet(shown).abs().max().item()
    check = compare(subnet, otherwise(subnet, pairs=3), shown)
    assert (check.differing, check.share, check.difference) == (3, 3 / 300, 0.0)
    assert check.equal
    assert not compare(subnet, otherwise(subnet, pairs=4), shown).equal
    check = compare(subnet, otherwise(subnet, logits=2e-4 * largest), shown)
    assert check.difference == pytest.approx(2e-4, rel=1e-2)
    assert not check.equal
    assert not compare(subnet, otherwise(subnet, logits=float("nan")), shown).equal
    assert compare(subnet, otherwise(subnet, logits=0.5e-4 * largest), shown).equal


def test_a_head_of_zeros_is_compared_too():
    subnet = subnet_of().requires_grad_(False)
    subnet.head.weight.zero_()
    subnet.head.bias.zero_()
    assert compare(subnet, otherwise(subnet), images(subnet)).difference == 0
    assert not compare(subnet, otherwise(subnet, logits=1e-3), images(subnet)).equal


@pytest.mark.parametrize("count", [1, 2, 65, 66])
def test_any_number_of_images_is_compared(count):
    subnet = subnet_of()
    check = compare(subnet, subnet.forward_with_choices, images(subnet, count))
    assert (check.images, check.differing, check.difference) == (count, 0, 0.0)
    assert check.equal


def test_images_that_fill_up_a_batch_do_not_count():
    subnet = subnet_of()
    check = compare(subnet, otherwise(subnet, pairs=20), images(subnet, 5), batch_size=4)
    # All images choose otherwise in the first of two runs.
    assert (check.images, check.differing, check.share) == (5, 5, 0.5)


def form(monkeypatch, **changes):
    monkeypatch.setitem(FORMATS, "odd", replace(FORMATS["safetensors"], **changes))


def test_what_is_not_the_subnet_never_takes_its_place(tmp_path, monkeypatch):
    subnet = subnet_of()
    (tmp_path / "file").write_text("before")
    form(monkeypatch, run=lambda data, subnet, batch: otherwise(subnet, logits=1.0))
    with pytest.raises(InputError, match=r"file: not written, since .*logits within \d.* on 20 im"):
        export_subnet(subnet, tmp_path / "file", "odd", images(subnet))
    assert left(tmp_path) == ["file"]
    assert (tmp_path / "file").read_text() == "before"


def test_a_backbone_that_cannot_go_that_way_is_one_line(tmp_path, monkeypatch):
    def refuse(subnet, about, batch):
        raise RuntimeError("no such\n  operator: " + 1000 * "x")

    form(monkeypatch, write=refuse)
    subnet = subnet_of()
    with pytest.raises(InputError, match="exported as odd: RuntimeError: no such op") as error:
        export_subnet(subnet, tmp_path / "file", "odd", images(subnet))
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 600
    assert left(tmp_path) == []


def test_what_is_missing_is_told_before_anything_is_done(tmp_path, monkeypatch):
    subnet = subnet_of()
    monkeypatch.setattr(formats, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"onnx needs onnx, onnxscript, onnxruntime.*\[onnx\]"):
        export_subnet(subnet, tmp_path / "file", "onnx", images(subnet))
    with pytest.raises(InputError, match="format 'tflite': known are safetensors, torch-export"):
        export_subnet(subnet, tmp_path / "file", "tflite", images(subnet))


@pytest.mark.parametrize("form", ["torch-export", pytest.param("onnx", marks=pytest.mark.slow)])
@pytest.mark.parametrize("section", [None, pytest.param("depth_dpt", marks=pytest.mark.slow)])
def test_a_program_of_a_fixed_batch_takes_that_alone(tmp_path, form, section):
    if form == "onnx":
        pytest.importorskip("onnxscript")
        pytest.importorskip("onnxruntime")
    if section is None:
        subnet = subnet_of()
        inputs = images(subnet, 5)
    else:
        subnet, inputs = extract(dense_supernet(section).eval(), DENSE[0]), dense_images(5)
    path = tmp_path / FORMATS[form].file
    check = export_subnet(subnet, path, form, inputs, ABOUT, batch=2)
    assert check.equal
    assert check.images == 5, "images that fill up the last batch do not count"
    network = FORMATS[form].run(path.read_bytes(), subnet, 2)
    close(network(inputs[:2])[0], subnet(inputs[:2]), 1e-4)
    with pytest.raises(Exception, match=r"(?i)shape|dimension|size"):
        network(inputs[:3])
