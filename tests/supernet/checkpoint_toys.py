"""Small checkpoints, and what may become of one."""

import torch

from supernet.training.checkpoint import save_checkpoint


def state_of(number):
    weights = torch.full((50, 40), float(number))
    return {
        "model": {"weight": weights, "shape": torch.arange(number)},
        "optimizer": {"state": {0: {"step": torch.tensor(number)}}, "param_groups": [{"lr": 0.1}]},
        "position": {"epoch": number, "step": 0},
        "recipe": {"lr": 0.1},
    }


def saved(folder, count=2):
    folder.mkdir(exist_ok=True)
    path = folder / "checkpoint.pt"
    for number in range(1, count + 1):
        save_checkpoint(state_of(number), path)
    return path


def number_of(found):
    """Which state was found, after a look at all of it."""
    number = found.state["position"]["epoch"]
    expected = state_of(number)
    assert found.state.keys() == expected.keys()
    for name, tensor in expected["model"].items():
        assert torch.equal(found.state["model"][name], tensor)
    return number


def damage(rng, data):
    """Cut, emptied, or with some bytes changed, added or zeroed."""
    kind = rng.choice(["cut", "empty", "flip", "zeros", "longer"])
    at = rng.randrange(len(data))
    if kind == "cut":
        return data[:at]
    if kind == "empty":
        return b""
    if kind == "flip":
        return data[:at] + bytes([data[at] ^ (1 << rng.randrange(8))]) + data[at + 1 :]
    if kind == "zeros":
        end = min(len(data), at + rng.randrange(1, 400))
        zeroed = data[:at] + bytes(end - at) + data[end:]
        return zeroed if zeroed != data else data[:at]
    return data + rng.randbytes(rng.randrange(1, 100))
