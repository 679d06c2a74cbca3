"""The benchmark of racing, at toy size."""

import json

import pytest
import racing
from benchmark_toys import CONFIG

from search.cli import main


@pytest.mark.slow
def test_each_seed_is_searched_with_and_without_racing(tmp_path, capsys):
    config, file = tmp_path / "toy.yaml", tmp_path / "rows.json"
    text = CONFIG.replace("train_limit: 120", "train_limit: 600")
    text = text.replace("search: {", "search: {objectives: [cross_entropy, macs], ")
    config.write_text(f"{text}run: {tmp_path}\n")
    assert main(["train", str(config)]) == 0
    capsys.readouterr()
    sizes = ["--trials", "20", "--seeds", "2", "--errors", "0.3"]
    racing.main([str(config), *sizes, "--json", str(file)])
    rows = json.loads(file.read_text())
    assert [(row["seed"], row["error"]) for row in rows] == [(0, 0.3), (1, 0.3)]
    for row in rows:
        assert 0 < row["images"] <= 1
        assert (row["images"] < 1) == (row["stopped"] > 0)
        assert 0 <= row["wrongly"] <= row["stopped"] <= 20
        assert row["volume"] > 0
        assert row["wall"] > 0
    assert len(capsys.readouterr().out.splitlines()) == 2 + len(rows) + 1
