"""Evaluation of archs on a supernet: weights and held-out images are loaded once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from search.evaluators.precision import decide_precision
from search.problem.paired_error import GroupedMetrics
from space.arch import Arch
from space.utils.errors import InputError
from supernet.config import Amp
from supernet.data.loaders import all_batches
from supernet.evaluation import HeldOut
from supernet.models.prefixes import PrefixEvaluator
from supernet.models.supernet import Supernet
from supernet.tasks.base import Task
from supernet.tasks.classification import Classification
from supernet.tasks.registry import DEFAULT_TASK
from supernet.weights import first_not_finite, tensor_bytes

MetricFunction = Callable[[Tensor, Tensor], Mapping[str, float]]


class SupernetEvaluator:
    """The evaluator of a supernet's archs, on images that stay on the device.

    Leading blocks that archs share are run once (`supernet.models.prefixes`).

    Args:
        supernet: Trained supernet, on its device.
        held_out: Held-out images.
        metric: Function of the logits and targets of all images, a tensor each, that gives metrics
            by name; None for the task's metrics, with `kl` to the full network.
        precision: Entry of the origin on its precision, see `decide_precision`.

    Raises:
        InputError: A weight of the supernet is not finite, or `metric` cannot have the targets in
            one tensor, as they differ in size.
    """

    def __init__(
        self,
        supernet: Supernet,
        held_out: HeldOut,
        metric: MetricFunction | None = None,
        precision: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        name = first_not_finite(supernet)
        if name is not None:
            raise InputError(
                f"the supernet's {name} is not finite: its training diverged; train it anew"
            )
        if metric is not None:
            _check_one_size(held_out)
        self.supernet = supernet.eval()
        self.held_out = held_out
        self.metric = metric
        self._precision = precision
        # After the images, since the cache may take a share of the memory that they leave.
        self.prefixes = PrefixEvaluator(supernet)
        if metric is None and held_out.task.uses_reference:
            held_out.set_reference(partial(supernet, arch=supernet.space.largest()))

    def expect(self, archs: Sequence[Arch]) -> list[Arch]:
        """Prepare for the next archs; return them in the order that shares most blocks."""
        return self.prefixes.expect(archs)

    def __call__(self, arch: Arch) -> dict[str, float]:
        """Return metrics by name."""
        network = self.prefixes.network(arch)
        if self.metric is None:
            return GroupedMetrics.of(self.held_out.task.reduce, self.held_out.statistics(network))
        logits = torch.cat([output for _, output in self.held_out.outputs(network)])
        targets = torch.cat([batch.targets for batch in self.held_out.batches])
        return {name: float(value) for name, value in self.metric(logits, targets).items()}

    def origin(self) -> dict[str, str]:
        """Identify this evaluation by hashes of weights, layers and images."""
        hashes = {
            "supernet": hash_weights(self.supernet, self.held_out.task),
            # Models with equal weights may differ in activation functions.
            "layers": _digest(repr(self.supernet).encode()),
            "images": hash_images((each.images, each.targets) for each in self.held_out.batches),
        }
        task = self.held_out.task
        if task.name != DEFAULT_TASK:  # whose folders had no such entry before there were others
            hashes["task"] = _digest(repr((task.name, task.identity())).encode())
        return hashes | dict(self._precision)


def _check_one_size(held_out: HeldOut) -> None:
    """Refuse targets of several sizes, which do not fit into one tensor."""
    sizes = list(dict.fromkeys(batch.targets.shape[1:] for batch in held_out.batches))
    if len(sizes) > 1:
        one, other = (" x ".join(map(str, size)) or "one number" for size in sizes[:2])
        raise InputError(
            f"metric: gets all targets in one tensor, and those of the loader differ in size, such "
            f"as {one} and {other}; bring them to one size, or leave metric out for those of the "
            f"task {held_out.task.name}"
        )


def loader_evaluator(
    supernet: Supernet,
    loader: Iterable[Any],
    metric: MetricFunction | None = None,
    task: Task | None = None,
    stored: Mapping[str, Any] | None = None,
) -> SupernetEvaluator:
    """Make an evaluator on a user's loader.

    Args:
        supernet: Trained supernet, on its device.
        loader: Batches of (images, targets), read once.
        metric: Metrics by name from outputs and targets; None for those of the task.
        task: The task; None for classification.
        stored: Origin of stored evaluations to go on from; None where there are none.
    """
    if task is None:
        task = Classification([str(label) for label in range(supernet.num_classes)])
    device = next(supernet.parameters()).device
    # A user's metric gets the supernet's own logits, without mixed precision.
    amp: Amp = "auto" if metric is None else False
    precision = decide_precision(amp, {device.type}, supernet.shape.width, stored)
    held_out = HeldOut(all_batches(loader, "loader"), task, device, precision.on(device))
    return SupernetEvaluator(supernet, held_out, metric, precision.origin)


def hash_weights(model: nn.Module, task: Task) -> str:
    """Hash a model's weights; equals `search.pipeline.context.digest` of a run's file of them."""
    return _digest(tensor_bytes(model.state_dict(), task.metadata))


def hash_images(batches: Iterable[tuple[Tensor, Tensor]]) -> str:
    """Hash images (B, ...) and their targets (B, ...).

    Order and batch size do not matter: metrics are of all images together.
    """
    each = (
        hashlib.sha256(_bytes(image) + _bytes(target)).digest()
        for images, targets in batches
        for image, target in zip(images.cpu(), targets.cpu(), strict=True)
    )
    return _digest(b"".join(sorted(each)))


def _bytes(tensor: Tensor) -> bytes:
    values = tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes()
    return f"{tensor.dtype} {list(tensor.shape)} ".encode() + values


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]
