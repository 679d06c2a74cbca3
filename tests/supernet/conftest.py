"""The helpers of these tests (supernet_toys, supernet_reference) become modules.

Importlib mode puts no test folder on the path.
"""

import sys
from pathlib import Path

import torch

sys.path.append(str(Path(__file__).parent))
# Toys this small are slower on several threads, and sums come out the same on every machine.
torch.set_num_threads(1)
