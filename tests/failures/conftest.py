"""The helpers of these tests and of the packages' become modules."""

import signal
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
BESIDE = ("search", "search/latency", "space", "supernet")
for folder in (HERE, *(HERE.parent / name for name in BESIDE)):
    if str(folder) not in sys.path:
        sys.path.append(str(folder))

from ledger import Ledger  # noqa: E402
from toy_runs import ran, write_config  # noqa: E402


@pytest.fixture(scope="session")
def ledger(request):
    return Ledger(request.config.getoption("--ledger"))


@pytest.fixture(autouse=True)
def heard():
    """What a shell starts in the background ignores Ctrl-C, and so would all that it starts."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def toy(tmp_path_factory):
    """A config, and the folder of its run, whole and never interrupted."""
    folder = tmp_path_factory.mktemp("toy")
    config, run = write_config(folder), folder / "run"
    for stage in ("train", "search", "retrain"):
        ran(stage, config, "--run", run)
    return config, run
