"""Batches. What an image looks like is a function of (seed, epoch, image).

So a run that was interrupted goes on exactly: the sampler starts at any step of an epoch, and each
sample seeds all generators before it is augmented, in whichever worker.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
from collections.abc import Callable, Generator, Iterable, Mapping
from functools import cache, partial
from multiprocessing.util import Finalize
from typing import Any, NamedTuple, Protocol, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from space.utils.errors import InputError, cut
from supernet.data.sources import Source
from supernet.process_group import Processes

Indices = np.ndarray[Any, np.dtype[np.int64]]


class Batch(NamedTuple):
    """Images of a step.

    Args:
        images: (B, C, H, W).
        targets: (B,).
        draws: a uniform number for each sample and epoch, (B,); None from a user's own loader,
            for which the training draws them.
    """

    images: Tensor
    targets: Tensor
    draws: Tensor | None


class Batches(Protocol):
    """Training batches, epoch by epoch; `steps` of them each, from any step on if `exact`."""

    steps: int
    exact: bool

    def epoch(self, epoch: int, first: int = 0) -> Generator[Batch, None, None]:
        """The batches of an epoch from step `first` on."""


Sample = tuple[Tensor, float, float]


class Images(Dataset[Sample | InputError]):
    """Some images of a source through a transform; a key is (epoch, place), -1 for evaluation.

    An image that cannot be read is its error: raised where images are loaded, it would come with
    the traceback of another process.
    """

    def __init__(self, source: Source, indices: Indices, transform: Any, seed: int) -> None:
        self.source = source
        self.indices = indices
        self.transform = transform
        self.seed = seed

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, key: tuple[int, int]) -> Sample | InputError:
        try:
            return self._sample(*key)
        except InputError as error:
            return error

    def _sample(self, epoch: int, place: int) -> Sample:
        index = int(self.indices[place])
        draw = 0.0
        if epoch >= 0:
            draw = float(seed_cpu(self.seed, epoch, index).random())
        image: Tensor = self.transform(self.source.read(index))
        return image, self.source.targets[index].item(), draw


class ShuffledBatches:
    """Training batches in an order that is a function of (seed, epoch), whole ones only.

    Args:
        images: of the training split.
        batch: images of a batch of one process.
        workers: processes that load.
        pin: copy into pinned memory.
        processes: that train together; each gets its share of every step.
    """

    exact = True

    def __init__(
        self,
        images: Images,
        batch: int,
        workers: int,
        pin: bool = False,
        processes: Processes | None = None,
    ) -> None:
        self.images = images
        self.batch = batch
        self.workers = workers
        self.pin = pin
        self.processes = processes or Processes()
        self.steps = len(images) // (batch * self.processes.count)

    def epoch(self, epoch: int, first: int = 0) -> Generator[Batch, None, None]:
        """The batches of an epoch from step `first` on."""
        order = np.random.default_rng((self.images.seed, epoch)).permutation(len(self.images))
        # The processes' batches of a step, joined, are the batch that one process would have.
        starts = [
            (step * self.processes.count + self.processes.rank) * self.batch
            for step in range(first, self.steps)
        ]
        batches = [
            [(epoch, int(place)) for place in order[start : start + self.batch]] for start in starts
        ]
        loader = _loader(self.images, batches, self.workers, self.pin)
        for images, targets, draws in loader:
            yield Batch(images, targets, draws)


class UserBatches:
    """A user's own loader of (images, targets); it goes on at epoch boundaries."""

    exact = False

    def __init__(self, loader: Any) -> None:
        self.loader = loader
        self.steps = len(loader)

    def epoch(self, epoch: int, first: int = 0) -> Generator[Batch, None, None]:
        """All batches of an epoch; a sampler with `set_epoch` is told which."""
        assert first == 0
        set_epoch = getattr(getattr(self.loader, "sampler", None), "set_epoch", None)
        if set_epoch is not None:
            set_epoch(epoch)
        given = 0
        for batch in self.loader:
            images, targets = images_and_targets(batch, "train")
            given += 1
            yield Batch(images, targets, None)
        if given < self.steps:
            raise InputError(
                f"train: the loader gave {given} batches, but its len() says {self.steps}"
            )


def images_and_targets(batch: Any, name: str) -> tuple[Tensor, Tensor]:
    """The two of a batch of a user's own loader.

    Raises:
        InputError: it does not begin with them; the loader is named as `name`.
    """
    parts = batch[:2] if isinstance(batch, tuple | list) else ()
    if len(parts) == 2 and all(isinstance(part, Tensor) for part in parts):
        return parts[0], parts[1]
    kind = type(batch).__name__
    if isinstance(batch, Mapping):
        kind += f" of {', '.join(map(str, batch))}"
    elif isinstance(batch, tuple | list):
        kind += f" of {', '.join(type(part).__name__ for part in batch)}"
    raise InputError(f"{name}: a batch must be (images, targets), two tensors, got a {cut(kind)}")


def all_batches(loader: Iterable[Any], name: str) -> list[tuple[Tensor, Tensor]]:
    """The (images, targets) of all batches of a user's own loader, but for empty ones.

    Raises:
        InputError: there are no images, or a batch is none; the loader is named as `name`.
    """
    pairs = (images_and_targets(batch, name) for batch in loader)
    found = [(images, targets) for images, targets in pairs if len(targets)]
    if not found:
        raise InputError(f"{name}: must hold images to judge on, got none")
    return found


def evaluation_loader(images: Images, batch: int, workers: int) -> DataLoader[Any]:
    """Batches of (images, targets, 0) in order, without augmentation."""
    places = [(-1, place) for place in range(len(images))]
    batches = [places[start : start + batch] for start in range(0, len(places), batch)]
    return _loader(images, batches, workers, torch.cuda.is_available())


def seed_all(*key: int) -> np.random.Generator:
    """Seed every global generator from a key; the generator returned is seeded likewise."""
    return _seed(torch.manual_seed, key)


def seed_cpu(*key: int) -> np.random.Generator:
    """The same for what images need, which are made on the CPU: once an image, it must be quick.

    For devices that have not been used, `torch.manual_seed` keeps the seed together with a stack
    trace: 1 ms where torch is built for CUDA, as much as the image itself.
    """
    return _seed(torch.default_generator.manual_seed, key)


def _seed(seed_torch: Callable[[int], Any], key: tuple[int, ...]) -> np.random.Generator:
    words = np.random.SeedSequence(key).generate_state(4)
    random.seed(int(words[0]))
    np.random.seed(words[1])
    seed_torch(int(words[2]))
    return np.random.default_rng(int(words[3]))


class _Loader(DataLoader[Any]):
    """Raises what could not be loaded, in the process that iterates."""

    def __iter__(self) -> Any:
        for batch in super().__iter__():
            if isinstance(batch, InputError):
                raise batch
            yield batch


@cache
def _leaving(process: int) -> Any:
    """Whether a process is at its end: memory that it shares with those that load for it."""
    leaving = multiprocessing.RawValue("b", 0)
    # Before multiprocessing itself sends SIGTERM to those that are left, and waits for them.
    Finalize(None, setattr, (leaving, "value", 1), exitpriority=100)
    return leaving


def _heed_no_signals(leaving: Any, worker: int) -> None:
    """Terminals and schedulers signal every process; the one that trains ends its step first.

    What is sent by the process that trains ends this one at once, as torch's own handler does: a
    queue that nobody reads any more would hold up what Python does on leaving.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0) if leaving.value else None)


def _loader(
    images: Images, batches: list[list[tuple[int, int]]], workers: int, pin: bool
) -> DataLoader[Any]:
    # Loading must not touch the generators of the process that trains.
    generator = torch.Generator().manual_seed(0)
    return _Loader(
        images,
        batch_sampler=batches,
        num_workers=workers,
        pin_memory=pin,
        generator=generator,
        collate_fn=_collate,
        worker_init_fn=partial(_heed_no_signals, _leaving(os.getpid())) if workers else None,
    )


def _collate(samples: list[Sample | InputError]) -> tuple[Tensor, Tensor, Tensor] | InputError:
    for sample in samples:
        if isinstance(sample, InputError):
            return sample
    images, targets, draws = zip(*cast(list[Sample], samples), strict=True)
    return torch.stack(images), torch.tensor(targets), torch.tensor(draws, dtype=torch.float64)
