"""A task that is defined here and nowhere else: one number for an image, here its label."""

from contextlib import contextmanager

import torch
from torch.nn import functional as F

from supernet.tasks import registry
from supernet.tasks.base import Task
from supernet.tasks.registry import Metric, TaskEntry

NAME = "number"
ENTRY = TaskEntry(
    "toy_task:Number",
    (Metric("rms", "min", "root of the mean square"), Metric("mae", "min", "mean absolute error")),
    "tabular-regression",
    "A network that says a number",
)


class Number(Task):
    """Regression of one number."""

    name = NAME
    outputs = 1
    needs = "the task one"

    def __init__(self, scale=1.0):
        self.scale = scale

    @classmethod
    def from_config(cls, section, classes, data):
        given = section.mapping(name=NAME, scale=1.0)
        return cls(given["scale"].positive())

    def identity(self):
        return {"task": NAME, "scale": self.scale}

    def reset_head(self, backbone, seed):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            backbone.reset_classifier(1)

    def loss(self, output, targets):
        return F.mse_loss(output[:, 0], targets.to(output.dtype) * self.scale)

    def distillation(self, output, teacher):
        return F.mse_loss(output, teacher.detach())

    def statistics(self, output, targets, reference=None):
        error = output[:, 0] / self.scale - targets
        return {"square": error.square(), "mae": error.abs()}

    def reduce(self, statistics):
        # The root of the mean over a split is no mean over its images.
        return {
            "rms": float(statistics["square"].mean() ** 0.5),
            "mae": float(statistics["mae"].mean()),
        }


@contextmanager
def registered(name=NAME, entry=ENTRY):
    """A task that is there within a context alone."""
    registry.register(name, entry)
    try:
        yield
    finally:
        del registry._tasks[name]
