"""For all tests: networks this small are slower on several threads, and sums differ with them."""

import torch

torch.set_num_threads(1)
