"""The helpers of these tests, of the space's and of the supernet's become modules.

Importlib mode puts no test folder on the path.
"""

import sys
from pathlib import Path

HERE = Path(__file__).parent
BESIDE = (HERE / "latency", HERE.parent / "space", HERE.parent / "supernet")
for folder in (HERE, *BESIDE):
    if str(folder) not in sys.path:
        sys.path.append(str(folder))

from retraining_toys import heard, run, searched  # noqa: E402, F401
