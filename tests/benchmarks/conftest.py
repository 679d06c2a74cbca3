"""Benchmarks are scripts: they become modules here, as they are when they are run."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
for folder in (HERE, HERE.parents[1] / "benchmarks"):
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
