"""Makes the toys of the supernet's tests importable."""

import sys
from pathlib import Path

folder = Path(__file__).parents[1] / "supernet"
if str(folder) not in sys.path:
    sys.path.append(str(folder))
