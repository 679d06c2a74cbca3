"""For all tests: how many threads torch has, and the option that runs the failure ledger whole."""

import os

import pytest
import torch

# Networks this small are slower on several threads, and sums differ with them. Processes that a
# test starts compute with as many, so that what they give can be compared bit for bit.
os.environ["OMP_NUM_THREADS"] = "1"
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def as_many_threads():
    """Another number of threads, left behind, would change the sums of every test that follows."""
    yield
    found = torch.get_num_threads()
    torch.set_num_threads(1)
    assert found == 1, f"the test left torch with {found} threads"


def pytest_addoption(parser):
    parser.addoption(
        "--ledger",
        metavar="FILE",
        help="inject every fault as often as docs/failures.md says, and write its table to FILE",
    )
