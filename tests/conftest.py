"""For all tests: how many threads torch has, and the option that runs the failure ledger whole."""

import torch

# Networks this small are slower on several threads, and sums differ with them.
torch.set_num_threads(1)


def pytest_addoption(parser):
    parser.addoption(
        "--ledger",
        metavar="FILE",
        help="inject every fault as often as docs/failures.md says, and write its table to FILE",
    )
