"""An operator that is defined in a test file alone goes through every stage of a run."""

import pytest
from toy_operator import registered

from search.cli.main import main
from search.front.front import Front
from space import load_arch_file
from supernet import create_subnet

CONFIG = """
backbone:
  model: vit_tiny_patch16_224
  args: {img_size: 16, patch_size: 4, embed_dim: 16, depth: 4, num_heads: 2}
data: {batch: 16, workers: 0, train_limit: 120, test_limit: 40, search_share: 0.3}
space:
  thin: {blocks: [1, 2]}
  skip: {blocks: [3], ratios: [0.5], selectors: [map]}
  share: {max_run: 1}
supernet: {epochs: 1, random_archs: 1}
search: {trials: 12, budget: "macs=90%", sampler: EvolutionSampler}
retrain: {epochs: 1, budgets: [60%]}
"""


def said(capsys, *words):
    assert main([str(word) for word in words]) == 0
    captured = capsys.readouterr()
    return captured.out + captured.err


@pytest.mark.slow
def test_it_is_searched_retrained_exported_profiled_and_drawn(tmp_path, capsys):
    config, run = tmp_path / "thin.yaml", tmp_path / "run"
    config.write_text(f"{CONFIG}run: {run}\n")
    with registered():
        said(capsys, "run", config)
        front = Front.load(run / "search" / "main" / "front.yaml")
        thinned = [entry for entry in front.entries if any(b.extra for b in entry.arch.blocks)]
        assert thinned
        found = run / "retrain" / "main" / "60" / "arch.yaml"
        file = load_arch_file(found)
        assert any(block.extra for block in file.arch.blocks)
        create_subnet(found, found.parent / "subnet.safetensors")
        said(capsys, "export", config, "--format", "onnx")
        assert list((run / "export").rglob("model.onnx"))
        assert "every second patch token" in next((run / "export").rglob("README.md")).read_text()
        said(capsys, "profile", config, "--batch", "2", "--rounds", "2")
        table = next((run / "latency").glob("*.yaml")).read_text()
        assert "[thin, 16, 8, " in table
        said(capsys, "report", config)
        assert (run / "report" / "main" / "arch-60.png").exists()
    # Where it is not registered the run says so, and nothing is overwritten.
    before = (run / "config.yaml").read_bytes()
    assert main(["search", str(config)]) == 2
    assert "space.thin: unknown key" in capsys.readouterr().err
    assert (run / "config.yaml").read_bytes() == before
