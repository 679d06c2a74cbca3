"""Evaluating archs on a supernet: weights and held-out images once, archs many."""

from __future__ import annotations

import hashlib
import warnings
from abc import ABC, abstractmethod
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
from search.racing import PARTS, Race, Rivals, estimated
from search.record import SEEN, Spent
from search.stages.context import OnLoaded, RunContext, find_device
from space.arch import Arch
from space.errors import InputError
from space.space import SearchSpace
from supernet.backbone import backbone_shape
from supernet.batches import all_batches
from supernet.evaluation import HeldOut
from supernet.model import Supernet
from supernet.openings import Openings
from supernet.pretrained import load_backbone
from supernet.task import Classification
from supernet.weights import first_not_finite, tensor_bytes

Metric = Callable[[Tensor, Tensor], Mapping[str, float]]


class OnOpenings(ABC):
    """Evaluates a supernet's archs, and runs once what they begin with (`search.sharing`).

    Args:
        supernet: trained, on its device.
    """

    def __init__(self, supernet: Supernet) -> None:
        name = first_not_finite(supernet)
        if name is not None:
            raise InputError(
                f"the supernet's {name} is not finite: its training diverged; train it anew"
            )
        self.supernet = supernet.eval()
        self.openings = Openings(supernet)

    def expect(self, archs: Sequence[Arch]) -> list[Arch]:
        """Be told what comes next; gives the order that shares most."""
        return self.openings.expect(archs)

    @property
    def spent(self) -> Spent:
        """Seconds of all forward passes so far."""
        return Spent(*self.openings.seconds)

    @property
    @abstractmethod
    def batches(self) -> Iterable[tuple[Tensor, Tensor]]:
        """Images and targets that archs are judged on."""

    @abstractmethod
    def __call__(self, arch: Arch) -> dict[str, float]:
        """Metrics by name."""

    def origin(self) -> dict[str, str]:
        """What tells this evaluation from others: hashes of weights, layers and images."""
        return {
            "supernet": hash_weights(self.supernet),
            # Equal weights may have other activations between them.
            "layers": _digest(repr(self.supernet).encode()),
            "images": hash_images(self.batches),
        }


class SupernetEvaluator(OnOpenings):
    """The metrics of archs, on images that stay on the device; `kl` is to the full network.

    Args:
        supernet: trained, on its device.
        held_out: the images to judge on.
    """

    def __init__(self, supernet: Supernet, held_out: HeldOut) -> None:
        super().__init__(supernet)
        self.held_out = held_out
        held_out.set_reference(partial(supernet, arch=supernet.space.largest()))

    @property
    def batches(self) -> Iterable[tuple[Tensor, Tensor]]:
        """Images and targets that archs are judged on."""
        return [(images, targets) for images, targets, _ in self.held_out.batches]

    def __call__(self, arch: Arch) -> dict[str, float]:
        """Metrics by name, means over the images."""
        return _measured(self.held_out.all_values(self.openings.network(arch)))


class RacingEvaluator(SupernetEvaluator):
    """The same; archs that lose are stopped, and their metrics estimated (`search.racing`).

    What is stopped depends on what this evaluator has seen before, and on nothing else.

    Args:
        supernet: trained, on its device.
        held_out: the images to judge on, in an order of chance.
        race: what archs are compared by.
    """

    def __init__(self, supernet: Supernet, held_out: HeldOut, race: Race) -> None:
        self._part = max(1, -(-len(held_out) // PARTS))
        super().__init__(supernet, held_out.cut(self._part))
        self._given = held_out
        self._race = race
        self._rivals = Rivals(race, len(held_out))

    def __reduce__(self) -> tuple[Any, ...]:
        """Sent to another process it has seen nothing yet; parts would be sent as often as cut."""
        return RacingEvaluator, (self.supernet, self._given, self._race)

    def __call__(self, arch: Arch) -> dict[str, float]:
        """Metrics by name; with `SEEN`, a share of the images, where those told enough."""
        costs = self._race.costs(arch)
        rival = self._rivals.of(costs)
        values: dict[str, Tensor] = {}
        seen = looked = 0
        for part in self.held_out.values(self.openings.network(arch)):
            more = {name: each.cpu().double() for name, each in part.items()}
            values = {
                name: torch.cat([values[name], each]) if values else each
                for name, each in more.items()
            }
            seen += len(next(iter(more.values())))
            # However small the batches are: more looks would take more of the error rate.
            if rival is not None and seen // self._part > looked:
                looked = seen // self._part
                if self._rivals.beaten(values, rival):
                    return {**estimated(values, rival), SEEN: seen / len(self.held_out)}
        if values:
            self._rivals.remember(costs, values)
        return _measured(values)


def _measured(values: Mapping[str, Tensor]) -> Measured:
    return Measured.of({name: each.numpy() for name, each in values.items()})


def evaluator_of(supernet: Supernet, held_out: HeldOut, race: Race | None) -> SupernetEvaluator:
    """What evaluates a supernet's archs, by racing where there is a race."""
    if race is None:
        return SupernetEvaluator(supernet, held_out)
    return RacingEvaluator(supernet, held_out, race)


def classification_evaluator(
    supernet: Supernet, loader: Iterable[Any], race: Race | None = None
) -> SupernetEvaluator:
    """Judges a supernet's archs as classifiers, on a user's own loader of (images, targets)."""
    task = Classification([str(label) for label in range(supernet.num_classes)])
    device = next(supernet.parameters()).device
    return evaluator_of(supernet, HeldOut(all_batches(loader, "loader"), task, device), race)


class LoaderEvaluator(OnOpenings):
    """The same by a user's own loader and metric.

    Args:
        supernet: trained, on its device.
        loader: batches of (images, targets); read once.
        metric: given logits and targets of all images, gives metrics by name.
    """

    def __init__(self, supernet: Supernet, loader: Iterable[Any], metric: Metric) -> None:
        self.metric = metric
        device = next(supernet.parameters()).device
        batches = all_batches(loader, "loader")
        self.images = [images.to(device) for images, _ in batches]
        self.targets = torch.cat([targets for _, targets in batches]).to(device)
        # Last: what may be kept is a share of the memory that the images leave.
        super().__init__(supernet)

    @property
    def batches(self) -> Iterable[tuple[Tensor, Tensor]]:
        """Images and targets that archs are judged on."""
        return zip(self.images, self.targets.split(list(map(len, self.images))), strict=True)

    def __call__(self, arch: Arch) -> dict[str, float]:
        """Metrics by name."""
        with torch.inference_mode():
            logits = torch.cat(list(map(self.openings.network(arch), self.images)))
        return {name: float(value) for name, value in self.metric(logits, self.targets).items()}


@dataclass(frozen=True)
class RunEvaluator:
    """Makes the evaluator of a run from its folder.

    Pickled, it turns into `CarriedEvaluator`: other machines need neither the folder nor the data.

    Args:
        config, file: of the run.
        loaded: told how many images there are, of how many.
        race: by which archs are stopped early; None to show all images to all archs.
    """

    config: Config
    file: Path | None
    loaded: OnLoaded | None = None
    race: Race | None = None
    shares: ClassVar[bool] = True

    def __call__(self) -> SupernetEvaluator:
        """Load weights and images."""
        run = RunContext(self.config, self.file).load_trained()
        held_out = run.held_out(self.config.supernet.amp, self.loaded)
        return evaluator_of(run.supernet, held_out, self.race)

    def __reduce__(self) -> tuple[Any, ...]:
        run = RunContext(replace(self.config, device="cpu"), self.file).load_trained()
        batches = run.held_out(on_loaded=self.loaded).batches
        return CarriedEvaluator, (
            self.config,
            run.task,
            {name: tensor.numpy() for name, tensor in run.supernet.state_dict().items()},
            [(batch.images.numpy(), batch.targets.numpy()) for batch in batches],
            self.race,
        )


@dataclass(frozen=True)
class CarriedEvaluator:
    """Makes the evaluator of a run from arrays, which Ray brings to a node once for all workers.

    Args:
        config: of the run.
        task: what archs are judged for.
        weights: the supernet's state dict.
        batches: images (B, C, H, W) and targets (B,) of the search split.
        race: by which archs are stopped early, if they are.
    """

    config: Config
    task: Classification
    weights: Mapping[str, NDArray[Any]]
    batches: Sequence[tuple[NDArray[Any], NDArray[Any]]]
    race: Race | None = None

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
        return evaluator_of(supernet.to(device), held_out, self.race)


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
