"""The interface of a task.

B images; each task defines the shapes of its outputs and targets.
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
from supernet.tasks.registry import Direction, Metric, directions, task_entry

Array = NDArray[Any]


class Task(ABC):
    """A task: loss, metrics, head and mixing of batches; one registry entry and one file each.

    Attributes:
        name: Name in configs.
        classes: Class names, for tasks with classes.
    """

    name: ClassVar[str]
    classes: Sequence[str] = ()

    @classmethod
    @abstractmethod
    def from_config(cls, section: Reader, classes: Sequence[str], augment: AugmentConfig) -> Task:
        """Make the task of a run.

        Args:
            section: The section `task` of the config.
            classes: Class names of the data.
            augment: The section `data.augment`.

        Raises:
            InputError: A value is invalid.
        """

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The metrics of the task, the primary one first."""
        return task_entry(self.name).metrics

    @property
    def directions(self) -> dict[str, Direction]:
        """Optimisation directions of the metrics, by name."""
        return directions(self.name)

    @property
    @abstractmethod
    def outputs(self) -> int:
        """Number of outputs of the head for an image."""

    @property
    def contents(self) -> str:
        """Description of the data's targets, such as "10 classes"."""
        return f"{len(self.classes)} classes" if self.classes else self.name

    @property
    def needs(self) -> str:
        """Description of the data's targets for messages, such as "the data 10 classes"."""
        return f"the data {self.contents}"

    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """Return the values of the task that training results depend on."""

    def fits(self, backbone: VisionTransformer) -> bool:
        """Return whether the backbone's head has this task's outputs."""
        return backbone.num_classes == self.outputs

    @abstractmethod
    def reset_head(self, backbone: VisionTransformer, seed: int) -> None:
        """Give the backbone a new head for this task, the same at each call."""

    def check_batch(self, batch: int, place: str = "data.batch") -> None:  # noqa: B027
        """Refuse a batch size that training cannot use; `place` names its option.

        Raises:
            InputError: The batch size is invalid.
        """

    def mix(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Mix images and targets of a training batch, if the task does so."""
        return images, targets

    @abstractmethod
    def loss(self, output: Tensor, targets: Tensor) -> Tensor:
        """Compute the loss on the targets, a mean over the batch."""

    @abstractmethod
    def distillation(self, output: Tensor, teacher: Tensor) -> Tensor:
        """Compute the loss on a teacher's output, a mean over the batch, without gradient to it."""

    @abstractmethod
    def statistics(
        self, output: Tensor, targets: Tensor, reference: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Compute the statistics of each image for `reduce`, (B, ...) by name.

        Args:
            output: A network's output.
            targets: The targets.
            reference: The full network's output; None where it is unknown.
        """

    def reduce(self, statistics: Mapping[str, Array]) -> dict[str, float]:
        """Reduce the statistics of all images of a split to its metrics; by default their means."""
        return {name: float(each.mean()) for name, each in statistics.items()}

    def strata(self, targets: Array) -> Array:
        """Return the stratum of each image, for stratified splits; by default one for all."""
        return np.zeros(len(targets), dtype=np.int64)
