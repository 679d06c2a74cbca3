"""The helpers of these tests (supernet_toys, supernet_reference) become modules.

Importlib mode puts no test folder on the path.
"""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))
