"""Evaluating archs on a supernet: weights and held-out images once, archs many."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from search.chance import Measured
from search.config import Config
from search.stages.context import OnLoaded, RunContext, find_device
from space.arch import Arch
from space.space import SearchSpace
from space.utils.errors import InputError
from supernet.backbones.load import load_backbone
from supernet.backbones.vit import backbone_shape
from supernet.data.loaders import all_batches
from supernet.evaluation import HeldOut
from supernet.models.prefixes import Openings
from supernet.models.supernet import Supernet
from supernet.tasks.base import Task
from supernet.tasks.classification import Classification
from supernet.weights import first_not_finite, tensor_bytes

Metric = Callable[[Tensor, Tensor], Mapping[str, float]]


class SupernetEvaluator:
    """The metrics of a supernet's archs, on images that stay on the device.

    What archs begin with is run once (`search.sharing`).

    Args:
        supernet: The trained supernet, on its device.
        held_out: The images to judge on.
        metric: Metrics by name, given the logits and targets of all images; None for those of the
            task, of which `kl` is to the full network.

    Raises:
        InputError: A weight of the supernet is not finite.
    """

    def __init__(self, supernet: Supernet, held_out: HeldOut, metric: Metric | None = None) -> None:
        name = first_not_finite(supernet)
        if name is not None:
            raise InputError(
                f"the supernet's {name} is not finite: its training diverged; train it anew"
            )
        self.supernet = supernet.eval()
        self.held_out = held_out
        self.metric = metric
        # After the images: what may be kept is a share of the memory that they leave.
        self.openings = Openings(supernet)
        if metric is None:
            held_out.set_reference(partial(supernet, arch=supernet.space.largest()))

    def expect(self, archs: Sequence[Arch]) -> list[Arch]:
        """Be told what comes next; gives the order that shares most."""
        return self.openings.expect(archs)

    def __call__(self, arch: Arch) -> dict[str, float]:
        """Metrics by name."""
        network = self.openings.network(arch)
        if self.metric is None:
            values = self.held_out.statistics(network)
            return Measured.of(self.held_out.task.reduce(values), values)
        logits = torch.cat(list(self.held_out.outputs(network)))
        targets = torch.cat([batch.targets for batch in self.held_out.batches])
        return {name: float(value) for name, value in self.metric(logits, targets).items()}

    def origin(self) -> dict[str, str]:
        """What tells this evaluation from others: hashes of weights, layers and images."""
        return {
            "supernet": hash_weights(self.supernet),
            # Equal weights may have other activations between them.
            "layers": _digest(repr(self.supernet).encode()),
            "images": hash_images((each.images, each.targets) for each in self.held_out.batches),
        }


def loader_evaluator(
    supernet: Supernet, loader: Iterable[Any], metric: Metric | None = None
) -> SupernetEvaluator:
    """Judges a supernet's archs on a user's own loader of (images, targets), which is read once.

    By the user's own metric, or as classifiers.
    """
    task = Classification([str(label) for label in range(supernet.num_classes)])
    device = next(supernet.parameters()).device
    # A user's own metric has the logits that the supernet gives.
    held_out = HeldOut(all_batches(loader, "loader"), task, device, amp=metric is None)
    return SupernetEvaluator(supernet, held_out, metric)


@dataclass(frozen=True)
class RunEvaluator:
    """Makes the evaluator of a run from its folder.

    Pickled, it turns into `CarriedEvaluator`: other machines need neither the folder nor the data.

    Args:
        config, file: of the run.
        loaded: told how many images there are, of how many.
    """

    config: Config
    file: Path | None
    loaded: OnLoaded | None = None
    shares: ClassVar[bool] = True

    def __call__(self) -> SupernetEvaluator:
        """Load weights and images."""
        run = RunContext(self.config, self.file).load_trained()
        held_out = run.held_out(self.config.supernet.amp, self.loaded)
        return SupernetEvaluator(run.supernet, held_out)

    def __reduce__(self) -> tuple[Any, ...]:
        run = RunContext(replace(self.config, device="cpu"), self.file).load_trained()
        batches = run.held_out(on_loaded=self.loaded).batches
        return CarriedEvaluator, (
            self.config,
            run.task,
            {name: tensor.numpy() for name, tensor in run.supernet.state_dict().items()},
            [(batch.images.numpy(), batch.targets.numpy()) for batch in batches],
        )


@dataclass(frozen=True)
class CarriedEvaluator:
    """Makes the evaluator of a run from arrays, which Ray brings to a node once for all workers.

    Args:
        config: of the run.
        task: what archs are judged for.
        weights: the supernet's state dict.
        batches: images (B, C, H, W) and targets (B,) of the search split.
    """

    config: Config
    task: Task
    weights: Mapping[str, NDArray[Any]]
    batches: Sequence[tuple[NDArray[Any], NDArray[Any]]]

    def __call__(self) -> SupernetEvaluator:
        """Build the supernet around the weights, on this worker's device."""
        config = self.config
        device = find_device(config.device)
        plain = replace(config.backbone, checkpoint=None, pretrained=False)
        backbone = load_backbone(plain, self.task, config.seed).backbone
        space = SearchSpace.from_dict(config.space, backbone_shape(backbone))
        supernet = Supernet(backbone, space)
        weights = {name: shared(array) for name, array in self.weights.items()}
        supernet.load_state_dict(weights, assign=True)
        batches = [(shared(images), shared(targets)) for images, targets in self.batches]
        held_out = HeldOut(batches, self.task, device, config.supernet.amp)
        return SupernetEvaluator(supernet.to(device), held_out)


def hash_weights(model: nn.Module) -> str:
    """A hash of a model's weights, as `search.stages.context.digest` has it of their file."""
    return _digest(tensor_bytes(model.state_dict()))


def hash_images(batches: Iterable[tuple[Tensor, Tensor]]) -> str:
    """A hash of images (B, ...) and their targets (B, ...).

    Their order and the size of the batches do not matter: metrics are means over all images.
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


def shared(array: NDArray[Any]) -> Tensor:
    """A tensor over memory that others read too, and that nobody may write."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return torch.from_numpy(array)
