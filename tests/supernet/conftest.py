"""The helpers of these tests, and of the space's, become modules.

Importlib mode puts no test folder on the path.
"""

import sys
from pathlib import Path

HERE = Path(__file__).parent
for folder in (HERE, HERE / "training", HERE.parent / "space"):
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
