"""Batches and loaders. An augmented image is a function of (seed, epoch, image).

So a resumed training is exact: the sampler can start at any step of an epoch, and all generators
are seeded before the augmentation of each sample, in whichever worker.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
from collections.abc import Generator, Iterable, Mapping
from functools import cache, partial
from multiprocessing.util import Finalize
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from space.utils.errors import InputError, cut
from supernet.data.source import Source
from supernet.process_group import Processes
from supernet.tasks.transforms import Transform

Indices = NDArray[np.int64]
Sample = tuple[Tensor, Any, float]
# Those of schedulers and users.
SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Batch(NamedTuple):
    """A batch.

    Args:
        images: Images, (B, C, H, W).
        targets: Targets, (B,), or maps (B, H, W).
        draws: A uniform random number for each sample and epoch, (B,); None from a user's own
            loader, for which the trainer draws them.
    """

    images: Tensor
    targets: Tensor
    draws: Tensor | None


class Images(Dataset[Sample | InputError]):
    """Transformed samples of a source, by (epoch, position); epoch -1 is for evaluation.

    For a sample that cannot be read the error is returned: one raised in a worker would carry the
    worker's traceback.

    Args:
        source: The source.
        indices: Indices into the source, by position.
        transform: The transform of image and target.
        seed: Seed of the augmentation.
    """

    def __init__(self, source: Source, indices: Indices, transform: Transform, seed: int) -> None:
        self.source = source
        self.indices = indices
        self.transform = transform
        self.seed = seed

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, key: tuple[int, int]) -> Sample | InputError:
        epoch, position = key
        index = int(self.indices[position])
        draw = 0.0
        if epoch >= 0:
            draw = float(seed_all(self.seed, epoch, index, devices=False).random())
        try:
            sample = self.source.read(index)
        except InputError as error:
            return error
        return *self.transform(*sample), draw


class ShuffledBatches:
    """Training batches in an order that is a function of (seed, epoch); drops the last partial one.

    They are exact: an epoch can start at any step.

    Args:
        images: Images of the training split.
        batch: Batch size of one process.
        workers: Worker processes of the loader.

    Attributes:
        steps: Batches of an epoch; each process gets its share of every step.
    """

    exact = True

    def __init__(self, images: Images, batch: int, workers: int) -> None:
        self.images = images
        self.batch = batch
        self.workers = workers
        self.processes = Processes.current()
        self.steps = len(images) // (batch * self.processes.count)

    def epoch(self, epoch: int, first: int = 0) -> Generator[Batch, None, None]:
        """Yield the batches of an epoch from step `first` on."""
        order = np.random.default_rng((self.images.seed, epoch)).permutation(len(self.images))
        # The batches of all processes, joined, equal the batch of a training by one process.
        size, count, rank = self.batch, self.processes.count, self.processes.rank
        starts = [(step * count + rank) * size for step in range(first, self.steps)]
        batches = [[(epoch, int(i)) for i in order[start : start + size]] for start in starts]
        yield from _Loader(self.images, batches, self.workers)


class UserBatches:
    """A user's own loader of (images, targets), resumable at epoch boundaries."""

    exact = False

    def __init__(self, loader: Any) -> None:
        self.loader = loader
        self.steps = len(loader)

    def epoch(self, epoch: int, first: int = 0) -> Generator[Batch, None, None]:
        """Yield all batches of an epoch, after calling `sampler.set_epoch` if there is one."""
        assert first == 0
        set_epoch = getattr(getattr(self.loader, "sampler", None), "set_epoch", None)
        if set_epoch is not None:
            set_epoch(epoch)
        count = 0
        for batch in self.loader:
            count += 1
            yield Batch(*images_and_targets(batch, "train"), None)
        if count < self.steps:
            raise InputError(
                f"train: the loader gave {count} batches, but its len() says {self.steps}"
            )


def images_and_targets(batch: Any, name: str) -> tuple[Tensor, Tensor]:
    """Return images and targets of a batch of a user's own loader.

    Raises:
        InputError: The batch does not begin with two tensors; the loader is called `name`.
    """
    match batch:
        case [Tensor() as images, Tensor() as targets, *_]:
            return images, targets
        case Mapping():
            content = f" of {', '.join(map(str, batch))}"
        case [*parts]:
            content = f" of {', '.join(type(part).__name__ for part in parts)}"
        case _:
            content = ""
    kind = cut(type(batch).__name__ + content)
    raise InputError(f"{name}: a batch must be (images, targets), two tensors, got a {kind}")


def all_batches(loader: Iterable[Any], name: str) -> list[tuple[Tensor, Tensor]]:
    """Return (images, targets) of all batches of a user's own loader, without empty ones.

    Raises:
        InputError: There are no images, or a batch is invalid; the loader is called `name`.
    """
    pairs = (images_and_targets(batch, name) for batch in loader)
    batches = [(images, targets) for images, targets in pairs if len(targets)]
    if not batches:
        raise InputError(f"{name}: must have images to evaluate on, got none")
    return batches


def make_evaluation_loader(images: Images, batch: int, workers: int) -> DataLoader[Any]:
    """Make a loader of (images, targets, 0) without augmentation.

    Images come in order, but maps of several sizes in a batch come as a batch of each.
    """
    keys = [(-1, position) for position in range(len(images))]
    batches = [keys[start : start + batch] for start in range(0, len(keys), batch)]
    return _Loader(images, batches, workers)


def seed_all(*key: int, devices: bool = True) -> np.random.Generator:
    """Seed all global generators from a key; return a numpy generator seeded by it too.

    Args:
        key: Non-negative integers.
        devices: Whether to seed torch's generators of GPUs. Where they are not yet initialised,
            torch records a stack trace: 1 ms, as much as decoding an image.
    """
    words = np.random.SeedSequence(key).generate_state(4)
    random.seed(int(words[0]))
    np.random.seed(words[1])
    seed_torch = torch.manual_seed if devices else torch.default_generator.manual_seed
    seed_torch(int(words[2]))
    return np.random.default_rng(int(words[3]))


@cache
def _exit_flag(process: int) -> Any:
    """Return a flag in memory shared with the workers: 1 once process `process` exits."""
    exiting = multiprocessing.RawValue("b", 0)
    # Priority 100 runs before multiprocessing sends SIGTERM to the workers and joins them.
    Finalize(None, setattr, (exiting, "value", 1), exitpriority=100)
    return exiting


def _ignore_signals(exiting: Any, worker: int) -> None:
    """Ignore signals in a worker: schedulers signal all processes, but training finishes its step.

    SIGTERM from the exiting main process ends the worker at once by `os._exit`, as torch's handler
    does: Python's normal exit would block on a queue that nobody reads any more.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0) if exiting.value else None)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


class _Loader(DataLoader[Any]):
    """A loader of batches of keys, which raises its workers' errors in the main process."""

    def __init__(self, images: Images, batches: list[list[tuple[int, int]]], workers: int) -> None:
        super().__init__(
            images,
            batch_sampler=batches,
            num_workers=workers,
            pin_memory=torch.cuda.is_available(),
            # Without a generator of its own the loader would draw from the global one.
            generator=torch.Generator().manual_seed(0),
            collate_fn=_collate,
            worker_init_fn=partial(_ignore_signals, _exit_flag(os.getpid())) if workers else None,
        )

    def __iter__(self) -> Any:
        # Not in a variable: a raised error would keep its workers alive.
        for batches in self._start():
            if isinstance(batches, InputError):
                raise batches
            yield from batches

    def _start(self) -> Any:
        """Start the workers, which inherit that signals are blocked until they ignore them."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            return super().__iter__()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _collate(samples: list[Sample | InputError]) -> list[Batch] | InputError:
    """Collate samples to a batch; maps of several sizes, in evaluation, to a batch of each."""
    groups: dict[Any, list[Sample]] = {}
    for sample in samples:
        if isinstance(sample, InputError):
            return sample
        groups.setdefault(getattr(sample[1], "shape", None), []).append(sample)
    return [Batch(*default_collate(group)) for group in groups.values()]
