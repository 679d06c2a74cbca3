"""Checks the run folder that the README's first command leaves."""

import json
import sys
from pathlib import Path

from safetensors import safe_open


def main(run: Path) -> None:
    rows = [json.loads(line) for line in (run / "supernet" / "log.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == list(range(len(rows)))
    assert rows[-1]["top1/largest"] > 0.7, rows[-1]
    assert rows[-1]["top1/smallest"] > 0.5, rows[-1]
    with safe_open(run / "supernet" / "supernet.safetensors", "pt") as weights:
        assert "blocks.0.attn.qkv.weight" in weights.keys()
    print("the run is complete:", {name: rows[-1][name] for name in rows[-1] if "top1" in name})


main(Path(sys.argv[1]))
