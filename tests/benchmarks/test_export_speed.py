import importlib.util
import json
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "export_speed.py"
TOY = {"img_size": 32, "patch_size": 8, "embed_dim": 16, "depth": 3, "num_heads": 2}


@pytest.mark.slow
def test_an_arch_is_measured_in_every_runtime(tmp_path, capsys):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    spec = importlib.util.spec_from_file_location("export_speed", SCRIPT)
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    benchmark.PAUSE, benchmark.TURN_MS = 0.0, 1.0
    out = tmp_path / "out.json"
    words = ["--model", "vit_tiny_patch16_224", "--args", json.dumps(TOY), "--seconds", "0"]
    benchmark.main([*words, "--archs", "skip", "--batches", "1,3", "--json", str(out)])
    rows = json.loads(out.read_text())["rows"]
    assert [(row["arch"], row["batch"]) for row in rows] == [
        ("skip", 1),
        ("skip", 3),
    ]
    for row in rows:
        assert set(row["ms"]) == {"subnet", "torch.export", "onnxruntime"}
        assert min(row["ms"].values()) > 0
    assert len(capsys.readouterr().out.splitlines()) == 2 + len(rows)
