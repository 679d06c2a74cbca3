"""Factories of a run's evaluator: from the run's folder, or from arrays sent by Ray."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from numpy.typing import NDArray
from torch import Tensor

from search.evaluators.precision import AUTOCAST, Precision, decide_precision
from search.evaluators.supernet import SupernetEvaluator
from search.pipeline.config import Config
from search.pipeline.context import RunContext, find_device
from search.study.search_file import read_origin
from search.study.storage import has_results
from space.space import SearchSpace
from space.utils.errors import InputError
from supernet.backbones.load import load_backbone
from supernet.backbones.vit import backbone_shape
from supernet.evaluation import HeldOut
from supernet.models.supernet import Supernet
from supernet.precision import DEVICES
from supernet.tasks.base import Task


@dataclass(frozen=True)
class RunEvaluator:
    """Factory of a run's evaluator.

    It pickles as `CarriedEvaluator`, so that other machines need neither the folder nor the data.

    Args:
        run: The run, whose supernet is trained.
        precision: The precision of the search's evaluations; None where nothing is stored.
    """

    run: RunContext
    precision: Precision | None = None
    shares: ClassVar[bool] = True

    def __call__(self) -> SupernetEvaluator:
        """Load weights and images into an evaluator."""
        run = self.run.load_trained()
        precision = self.precision or search_precision(run)
        return SupernetEvaluator(run.supernet, run.load_search_split(precision.on(run.device)))

    def __reduce__(self) -> tuple[Any, ...]:
        run = self.run.load_trained()
        weights = run.supernet.state_dict()
        return CarriedEvaluator, (
            run.config,
            run.task,
            {name: tensor.cpu().numpy() for name, tensor in weights.items()},
            [(images.numpy(), targets.numpy()) for images, targets, *_ in run.search_batches()],
            self.precision or search_precision(run),
        )


@dataclass(frozen=True)
class CarriedEvaluator:
    """Factory of a run's evaluator from arrays, which Ray copies once to each node.

    Args:
        config: Config of the run.
        task: The task.
        weights: The supernet's state dict.
        batches: Images (B, C, H, W) and targets, (B,) or maps, of the search split.
        precision: The precision of the search's evaluations, the same on all nodes.
    """

    config: Config
    task: Task
    weights: Mapping[str, NDArray[Any]]
    batches: Sequence[tuple[NDArray[Any], NDArray[Any]]]
    precision: Precision

    def __call__(self) -> SupernetEvaluator:
        """Build an evaluator around the arrays, on this worker's device."""
        config = self.config
        device = find_device(config.device)
        unloaded = replace(config.backbone, checkpoint=None, pretrained=False)
        backbone = load_backbone(unloaded, self.task, config.seed).backbone
        shape = backbone_shape(backbone)
        space = SearchSpace.from_dict(config.space, shape, self.task.rules)
        supernet = Supernet(backbone, space)
        weights = {name: shared(array) for name, array in self.weights.items()}
        # Without copies: the workers of a node share the memory of weights and images.
        supernet.load_state_dict(weights, assign=True)
        batches = [(shared(images), shared(targets)) for images, targets in self.batches]
        held_out = HeldOut(batches, self.task, device, self.precision.on(device))
        return SupernetEvaluator(supernet.to(device), held_out)


def search_precision(run: RunContext, results: Iterable[Path] = ()) -> Precision:
    """Decide the precision of a search's evaluations.

    Args:
        run: The run.
        results: Folders of searches whose evaluations are kept or reused, as far as they exist.

    Raises:
        InputError: The user's choice differs from the precision of those evaluations.
    """
    results = list(results)
    amp, stored = run.config.supernet.amp, read_origin(results)
    # Workers may have GPUs where this process has none.
    kinds = DEVICES if run.config.search_workers() else {run.device.type}
    precision = decide_precision(amp, kinds, run.space.shape.width, stored)
    if stored is not None and stored.get(AUTOCAST) != precision.origin.get(AUTOCAST):
        if not any(map(has_results, results)):
            return decide_precision(amp, kinds, run.space.shape.width, None)
        raise InputError(
            f"supernet.amp: must be auto, got {str(amp).lower()}: the evaluations that are there "
            f"are in {'float32' if amp else 'bfloat16'}; or search under another name "
            "(--search.name)"
        )
    return precision


def shared(array: NDArray[Any]) -> Tensor:
    """Wrap an array of Ray's shared memory, which is read-only, without torch's warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return torch.from_numpy(array)
