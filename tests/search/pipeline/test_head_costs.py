"""MACs and parameters of dense networks are told with their head and without it."""

import re

import numpy as np
import pytest
import torch
from dense_runs import DEPTH, SEGMENTATION
from dense_toys import dense_supernet
from rich.console import Console
from search_toys import toy_space

from search import run_search
from search.pipeline.config import Config
from search.pipeline.evaluate import SPEED, _costs
from search.pipeline.inspect import show_shape, show_space
from search.pipeline.model_card import SUPERNET, render_portfolio_card, render_subnet_card
from search.report.network_table import make_network_table
from search.report.networks import Network
from search.report.search_result import Score
from search.utils.console import cell
from search.utils.units import quantity
from space import macs
from space.arch_file import ArchFile
from space.cost import backbone_macs, backbone_params
from supernet.models.subnet import extract

SCORE = Score("rmse")


@pytest.fixture(params=[DEPTH, SEGMENTATION], ids=["depth", "segmentation"])
def net(request):
    if request.param["head"]["name"] == "dpt":
        pytest.importorskip("segmentation_models_pytorch")
    return dense_supernet(request.param)


def counted(net, arch):
    """MACs and parameters with the head and without it, the parameters as the subnet has them."""
    subnet, shape = extract(net, arch), net.shape
    own = sum(each.numel() for each in subnet.parameters())
    # The final norm, which each feature goes through, is part of the head.
    head = sum(each.numel() for part in (subnet.head, subnet.norm) for each in part.parameters())
    assert own - head == backbone_params(arch, shape)
    assert macs(arch, shape) - shape.head.macs == backbone_macs(arch, shape)
    return macs(arch, shape), backbone_macs(arch, shape), own, own - head


def rows_of(text, name):
    return re.findall(rf"^\| {name} \| ([\d,]+) \| exact \|$", text, re.MULTILINE)


def card_of(shape, arch, config, metrics=None, task=None):
    file = ArchFile(
        arch=arch, shape=shape, backbone={"model": "vit"}, metrics=metrics or {}, task=task or {}
    )
    return render_subnet_card("net", file, config, search_images=3, checks={}, source=SUPERNET)


def test_a_card_has_both(net):
    arch = net.space.smallest()
    text = card_of(net.shape, arch, Config(task={"name": "depth"}))
    names = ("MACs of an image", "MACs without head", "parameters", "parameters without head")
    found = [rows_of(text, name) for name in names]
    assert found == [[f"{value:,}"] for value in counted(net, arch)]
    assert 'size=(height, width), mode="bilinear"' in text
    assert "\n\n\n" not in text


@pytest.mark.parametrize("name", ["depth", "segmentation"])
def test_a_card_says_what_the_maps_are(name):
    arch, metric = toy_space().smallest(), {"depth": "rmse", "segmentation": "miou"}[name]
    metrics = {"inherited": {metric: 0.5}}
    text = card_of(toy_space().shape, arch, Config(task={"name": name}), metrics)
    tag = {"depth": "depth-estimation", "segmentation": "image-segmentation"}[name]
    assert f"pipeline_tag: {tag}\n" in text
    unit = {"depth": "RMSE (m), ", "segmentation": "mean IoU, "}[name]
    assert f"| {unit}with the supernet's weights | 0.5000 |" in text


def test_a_card_of_a_classifier_has_the_whole_alone():
    space = toy_space()
    text = card_of(space.shape, space.smallest(), Config())
    assert len(rows_of(text, "MACs of an image")) == len(rows_of(text, "parameters")) == 1
    assert "without head" not in text
    assert "bilinear" not in text


@pytest.mark.parametrize("name", ["linear", "dpt"])
def test_a_card_says_what_the_output_is_and_of_which_size(name):
    if name == "dpt":
        pytest.importorskip("segmentation_models_pytorch")
    task = {"name": "depth", "head": {"name": name}}
    net = dense_supernet(task)
    with torch.inference_mode():
        output = net(torch.rand(1, 3, *net.patch_embed.img_size), net.space.largest())
    size = "{} x {}".format(*output.shape[-2:])
    text = card_of(net.shape, net.space.largest(), Config(task={"name": "depth"}), task=task)
    assert f"`depth`, is depth in metres on a map of {size} (height x width)" in text


@pytest.mark.parametrize("kind", [torch.as_tensor, np.asarray])
def test_the_code_of_a_card_resizes_tensors_and_onnxruntimes_arrays(kind):
    net = dense_supernet("depth")
    text = card_of(net.shape, net.space.largest(), Config(task={"name": "depth"}))
    code = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)[-1]
    names = {"depth": kind(torch.rand(2, 1, 6, 8)), "height": 30, "width": 40}
    exec(code, names)
    assert names["depth"].shape == (2, 1, 30, 40)


def test_a_portfolios_card_has_both(net):
    space = net.space

    def evaluate(arch):
        return {"rmse": 1.0 + 1e6 / macs(arch, space.shape)}

    front = run_search(space=space, evaluate=evaluate, objectives=["rmse=min", "macs"], trials=4)
    text = render_portfolio_card("net", front, Config(task={"name": "depth"}), 3)
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert lines[0].startswith("| rmse | macs |")
    assert lines[0].endswith("| backbone_macs |")
    assert len(lines) == 2 + len(front)
    assert f"the head of {net.shape.head.params:,} parameters, `backbone_macs` does not." in text
    assert "The output is depth in metres, (B, C, h, w): resize it bilinearly" in text
    other = run_search(
        space=toy_space(), evaluate=lambda arch: {"top1": 0.5}, objectives=["top1"], trials=1
    )
    text = render_portfolio_card("net", other, Config(), 3)
    assert "backbone_macs" not in text
    assert "optimistic.\n\n## Loading" in text


def test_a_report_has_both(net):
    archs = [net.space.largest(), net.space.smallest()]
    table = make_network_table([Network("n", each, net.shape) for each in archs], SCORE, SCORE)
    columns = {column.title: column.cells for column in table.columns}
    least = backbone_macs(archs[1], net.shape) / backbone_macs(archs[0], net.shape)
    assert columns["of full without head"] == ["100%", f"{least:.0%}"]
    assert len(columns) == len(table.columns)
    assert {"MACs", "without head", "parameters", "parameters without head"} <= columns.keys()
    space = toy_space()
    table = make_network_table([Network("n", space.largest(), space.shape)], SCORE, SCORE)
    assert not any("without head" in column.title for column in table.columns)


def test_the_tables_of_evaluate_and_of_a_report_have_the_same_costs(net):
    for space in (net.space, toy_space()):
        arch, shape = space.largest(), space.shape
        costs = _costs(ArchFile(arch, shape), {SPEED: {"value": 1.0}})
        table = make_network_table([Network("n", arch, shape)], SCORE, SCORE)
        titles = [each.title for each in table.columns if "of full" not in each.title]
        assert titles[1:] == [name for name in costs if name != "images/s"]


def test_inspect_has_both(net, capsys):
    console = Console(width=150)
    show_shape("net", net.shape, console)
    shown = capsys.readouterr().out
    full = net.space.largest()
    whole, backbone, all_params, own_params = counted(net, full)
    for name, *values in (("without head", backbone, own_params), ("whole", whole, all_params)):
        (row,) = [line for line in shown.splitlines() if line.startswith(name)]
        assert row.split()[-2:] == [cell("macs", value) for value in values]
    assert f"{whole:,} MACs are" in shown
    show_space(net.space, console)
    shown = capsys.readouterr().out
    least = net.space.mac_bands.low
    assert f"MACs from {quantity(least, 3)} ({least / whole:.0%} of the full network)" in shown
    head = net.shape.head.macs
    share = (least - head) / (whole - head)
    assert re.search(rf"^MACs without head from \S+ \({share:.0%} of the full", shown, re.MULTILINE)
    show_space(toy_space(), console)
    assert "without head" not in capsys.readouterr().out
