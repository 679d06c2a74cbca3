"""The benchmark of what searches share, at toy size."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from search.cli import main

ROOT = Path(__file__).parents[2]
CONFIG = """
backbone:
  model: vit_tiny_patch16_224
  args: {img_size: 16, patch_size: 4, embed_dim: 16, depth: 4, num_heads: 2}
data: {batch: 16, workers: 0, train_limit: 120, test_limit: 40, search_share: 0.3}
space:
  pool: {kinds: [avg2d], grids: [2], max_pools: 1}
  share: {max_run: 1}
  skip: {ratios: [0.5], selectors: [map]}
supernet: {epochs: 1, random_archs: 1}
search: {sampler: EvolutionSampler}
"""


@pytest.mark.slow
def test_it_measures_each_sampler(tmp_path):
    config, file = tmp_path / "toy.yaml", tmp_path / "rows.json"
    config.write_text(CONFIG + f"run: {tmp_path / 'run'}\n")
    assert main(["train", str(config)]) == 0
    script = ROOT / "benchmarks" / "shared_prefixes.py"
    command = [sys.executable, script, config, "30", "--json", file]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    rows = json.loads(file.read_text())
    assert [row["sampler"] for row in rows] == ["NSGAIISampler", "EvolutionSampler"]
    assert len(done.stdout.splitlines()) == 2 + len(rows)
    for row in rows:
        assert (row["evaluations"], row["images"]) == (30, 35)
        assert 0 < row["blocks_run"] < 1
        assert 0 < row["forward"] < row["wall"]
        assert min(row["one_by_one_said"], row["one_by_one_run"], row["kept_megabytes"]) > 0
