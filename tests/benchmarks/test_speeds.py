"""Benchmarks run at toy size; no timing is asserted."""

import json
import math

import autocast
import portfolio_switch
import pytest
import subnet_speed
import torch
import train_step
from peaks import peak_bytes

TOY = {"img_size": 32, "patch_size": 4, "embed_dim": 24, "depth": 6, "num_heads": 2}
CONFIG = f"""
backbone: {{model: vit_tiny_patch16_224, args: {json.dumps(TOY | {"num_classes": 5})}}}
space:
  pool: {{kinds: [avg2d], grids: [4]}}
  skip: {{ratios: [0.5], selectors: [map]}}
"""


def test_peaks_are_of_what_is_alive_at_once():
    x = torch.zeros(1000, 1000)

    def run():
        y = x + 1
        z = y.view(-1)[:500_000] * 2
        del y
        return (z.view(500, 1000) @ x).sum()

    assert peak_bytes(run, torch.device("cpu")) == 4 * 1_500_000


@pytest.mark.parametrize("batch", ["1", "3"])
def test_subnets_beside_the_full_network(tmp_path, capsys, batch):
    out = tmp_path / "out.json"
    words = ["--model", "vit_tiny_patch16_224", "--args", json.dumps(TOY), "--batch", batch]
    subnet_speed.main([*words, "--rounds", "2", "--json", str(out)])
    result = json.loads(out.read_text())
    assert result["batch"] == int(batch)
    assert len(result["subnets"]) == 7
    for row in result["subnets"].values():
        assert 0 < row["macs"] < 1
        assert row["time"] > 0
        assert row["peak"] > 0
        assert row["saved"] == pytest.approx((1 - row["time"]) / (1 - row["macs"]))
    assert all(map(math.isfinite, result["blocks"].values()))
    assert len(capsys.readouterr().out.splitlines()) == 2 + 7 + len(result["blocks"])


def test_a_step_beside_its_archs(tmp_path, capsys):
    config, out = tmp_path / "toy.yaml", tmp_path / "out.json"
    config.write_text(CONFIG)
    words = ["--config", str(config), "--batch", "4", "--repeats", "2", "--device", "cpu"]
    train_step.main([*words, "--json", str(out)])
    result = json.loads(out.read_text())
    assert min(result["ms"].values()) > 0
    assert result["step / its archs alone"] > 0
    # A step propagates one arch after the other: no two are alive together.
    assert 0.9 < result["peak of a step / of the largest alone"] < 1.5
    assert "images/s" in capsys.readouterr().out


def test_a_portfolio_is_switched_without_copies(tmp_path, capsys):
    out = tmp_path / "row.json"
    sizes = ["--args", json.dumps(TOY), "--subnets", "12", "--rounds", "2"]
    portfolio_switch.main(["--model", "vit_tiny_patch16_224", *sizes, "--json", str(out)])
    row = json.loads(out.read_text())
    assert row["weights"] == 1.0
    assert 1 < row["subnets"] <= 12
    assert 0 < row["switch_us"] <= row["slowest_switch_us"]
    assert min(row["call_ms"], row["call_after_a_switch"]) > 0
    assert len(capsys.readouterr().out.splitlines()) == len(row)


def test_autocast_beside_float32(tmp_path, capsys):
    out = tmp_path / "out.json"
    words = ["--widths", "32,64", "--depth", "2", "--size", "16", "--batch", "4", "--rounds", "2"]
    autocast.main([*words, "--json", str(out)])
    result = json.loads(out.read_text())
    assert list(result["rows"]) == ["32", "64"]
    for row in result["rows"].values():
        assert list(row) == ["training step", "inference, full", "inference, skipping"]
        for cell in row.values():
            assert cell["ms"] > 0
            assert 0 < cell["ratios"][0] <= cell["ratios"][1] <= cell["ratios"][2]
    assert len(capsys.readouterr().out.splitlines()) == 4
