"""What is drawn is a function of a key."""

import random

import numpy as np
import torch
from training_toys import EVERYTHING, toy_backbone, toy_data

from supernet.data.loaders import seed_all


def test_images_seed_the_cpu_as_steps_do_and_no_device(monkeypatch):
    def drawn(devices):
        own = seed_all(4, 5, 6, devices=devices)
        return random.random(), np.random.rand(), torch.rand(3).tolist(), own.random()

    assert drawn(devices=False) == drawn(devices=True)
    images = toy_data(toy_backbone(), **EVERYTHING).train.images

    def refused(seed):
        raise AssertionError("an image has seeded every device")

    monkeypatch.setattr(torch, "manual_seed", refused)
    first, again = images[0, 3], images[0, 3]
    assert torch.equal(first[0], again[0])
    assert not torch.equal(first[0], images[1, 3][0])


def test_seeding_covers_every_generator():
    def draws():
        return random.random(), np.random.rand(), float(torch.rand(1))

    seed_all(1, 2)
    first = draws()
    seed_all(1, 2)
    assert draws() == first
    seed_all(1, 3)
    assert not any(a == b for a, b in zip(draws(), first, strict=True))
