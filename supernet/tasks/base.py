"""What a network is trained and judged for.

B images; a network's output and the targets are what the task says they are.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from space.utils.reader import Reader
from supernet.config import AugmentConfig
from supernet.tasks.registry import Direction, Metric, task_metrics

Array = NDArray[Any]


class Task(ABC):
    """What a network is trained and judged for; one entry in the registry, one file a task.

    Attributes:
        name: Its name in configs.
        classes: The names of what it tells apart, where it does that.
    """

    name: ClassVar[str]
    classes: Sequence[str] = ()

    @classmethod
    @abstractmethod
    def from_config(cls, section: Reader, classes: Sequence[str], augment: AugmentConfig) -> Task:
        """The task of a run.

        Args:
            section: The section `task` of the config.
            classes: The names of the classes of the data.
            augment: The section `data.augment`.

        Raises:
            InputError: A value is not right.
        """

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """What it is judged by; people look at the first."""
        return task_metrics(self.name)

    @property
    def directions(self) -> dict[str, Direction]:
        """Which way its metrics are better, by name."""
        return {metric.name: metric.direction for metric in self.metrics}

    @property
    @abstractmethod
    def outputs(self) -> int:
        """How many numbers the head gives for an image."""

    @property
    @abstractmethod
    def needs(self) -> str:
        """What the data ask of the head, in words: "the data 10 classes"."""

    @property
    def contents(self) -> str:
        """What the data are of, in words: "10 classes"."""
        return f"{len(self.classes)} classes" if self.classes else self.name

    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """All that a training depends on, in plain values."""

    def fits(self, backbone: VisionTransformer) -> bool:
        """Whether the backbone's head has this task's outputs."""
        return backbone.num_classes == self.outputs

    @abstractmethod
    def reset_head(self, backbone: VisionTransformer, seed: int) -> None:
        """Give the backbone a new head for this task, the same at each call."""

    def check_batch(self, batch: int, place: str = "data.batch") -> None:  # noqa: B027
        """Refuse a batch size that cannot be trained on; `place` says where it comes from.

        Raises:
            InputError: It cannot.
        """

    def mix(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Images and targets of a training batch, mixed where the task does that."""
        return images, targets

    @abstractmethod
    def loss(self, output: Tensor, targets: Tensor) -> Tensor:
        """What the full network learns from the targets, a mean over the batch."""

    @abstractmethod
    def distillation(self, output: Tensor, teacher: Tensor) -> Tensor:
        """What a network learns from another's output, a mean over the batch; no gradient reaches
        the teacher."""

    @abstractmethod
    def statistics(
        self, output: Tensor, targets: Tensor, reference: Tensor | None = None
    ) -> dict[str, Tensor]:
        """What the metrics of a split are reduced from: statistics of each image, (B, ...) by name.

        Args:
            output: A network's output.
            targets: The targets.
            reference: The full network's output, where it is known.
        """

    def reduce(self, statistics: Mapping[str, Array]) -> dict[str, float]:
        """The metrics of a split, from the statistics of all its images; by default their means."""
        return {name: float(each.mean()) for name, each in statistics.items()}

    def strata(self, targets: Array) -> Array:
        """The stratum of each image, by which splits are cut; by default all are in one."""
        return np.zeros(len(targets), dtype=np.int64)
