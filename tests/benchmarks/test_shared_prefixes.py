"""The benchmark of what searches share, at toy size."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from benchmark_toys import CONFIG

from search.cli.main import main

ROOT = Path(__file__).parents[2]


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
        assert min(row["one_by_one"], row["kept_megabytes"]) > 0
