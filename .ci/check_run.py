"""Checks the run folder that the README's first command leaves."""

import sys
from pathlib import Path

from search import Front
from space import load_arch_file, macs


def main(run: Path) -> None:
    """Fail unless the run went all the way and found a subnet worth having."""
    front = Front.load(run / "export" / "main" / "front.yaml")
    archs = [path for path in (run / "export" / "main").glob("*.yaml") if path.stem != "front"]
    assert len(archs) == len(front) > 3, (len(archs), len(front))
    found = {}
    for path in sorted((run / "retrain" / "main").glob("*/arch.yaml")):
        file = load_arch_file(path)
        share = macs(file.arch, file.shape) / front.full["macs"]
        found[path.parent.name] = (share, file.metrics["retrained"]["top1"])
    print("share of the MACs, top-1 on the test split:", found)
    assert found["full"][1] > 0.85, found
    halves = [top1 for share, top1 in found.values() if share <= 0.5]
    assert halves, found
    assert max(halves) > 0.8, found


main(Path(sys.argv[1]))
