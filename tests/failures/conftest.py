"""The helpers of these tests, of the search's and of the space's become modules."""

import signal
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
for folder in (HERE, *(HERE.parent / name for name in ("search", "space", "supernet"))):
    if str(folder) not in sys.path:
        sys.path.append(str(folder))

from ledger import Ledger  # noqa: E402


@pytest.fixture(scope="session")
def ledger(request):
    return Ledger(request.config.getoption("--ledger"))


@pytest.fixture(autouse=True)
def heard():
    """What a shell starts in the background ignores Ctrl-C, and so would all that it starts."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
