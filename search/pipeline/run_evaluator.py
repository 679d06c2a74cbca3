"""Factories of a run's evaluator, from its folder or from arrays sent to another machine."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from numpy.typing import NDArray
from torch import Tensor

from search.evaluators.supernet import SupernetEvaluator
from search.pipeline.config import Config
from search.pipeline.context import OnLoaded, RunContext, find_device
from space.space import SearchSpace
from supernet.backbones.load import load_backbone
from supernet.backbones.vit import backbone_shape
from supernet.evaluation import HeldOut
from supernet.models.supernet import Supernet
from supernet.tasks.base import Task


@dataclass(frozen=True)
class RunEvaluator:
    """Makes the evaluator of a run from its folder.

    It pickles as `CarriedEvaluator`, so that other machines need neither the folder nor the data.

    Args:
        config: Config of the run.
        file: The config's file.
        loaded: Called with the numbers of loaded and of all images.
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
    """Makes the evaluator of a run from arrays, which Ray copies once to each node.

    Args:
        config: Config of the run.
        task: The task.
        weights: The supernet's state dict.
        batches: Images (B, C, H, W) and targets (B,) of the search split.
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
        # Without copies: the workers of a node share the memory of weights and images.
        supernet.load_state_dict(weights, assign=True)
        batches = [(shared(images), shared(targets)) for images, targets in self.batches]
        held_out = HeldOut(batches, self.task, device, config.supernet.amp)
        return SupernetEvaluator(supernet.to(device), held_out)


def shared(array: NDArray[Any]) -> Tensor:
    """Wrap an array of Ray's shared memory, which is read-only, without torch's warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return torch.from_numpy(array)
