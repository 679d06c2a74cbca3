"""The helpers of these tests, of the search's and of the space's become modules."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
for folder in (HERE, HERE.parent, HERE.parents[1] / "space"):
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
