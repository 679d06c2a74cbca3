"""The interface of a task.

B images; each task defines the shapes of its outputs and targets.
"""

from __future__ import annotations

import copy
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from space.rules import NO_RULES, Rules
from space.utils.errors import InputError
from space.utils.reader import Reader
from supernet.config import AugmentConfig, DataConfig
from supernet.tasks.registry import Direction, Metric, directions, task_class, task_entry
from supernet.tasks.transforms import ImageTransform, Transform

Array = NDArray[Any]


class Task(ABC):
    """A task: loss, metrics, head and mixing of batches; one registry entry and one file each.

    Attributes:
        name: Name in configs.
        dense: Whether targets are maps of the size of the image; else each is a plain value.
        uses_reference: Whether a metric compares with the full network.
        data_keys: Keys of the section `data.dataset` that tell what the values of its maps mean.
        rules: What every arch of a space must keep for it.
        classes: Class names, for tasks with classes.
    """

    name: ClassVar[str]
    dense: ClassVar[bool] = False
    uses_reference: ClassVar[bool] = True
    data_keys: ClassVar[tuple[str, ...]] = ()
    rules: ClassVar[Rules] = NO_RULES
    classes: Sequence[str] = ()

    @classmethod
    @abstractmethod
    def from_config(cls, section: Reader, classes: Sequence[str], data: DataConfig) -> Task:
        """Make the task of a run, or of an arch file.

        Args:
            section: The section `task` of the config or the file.
            classes: Class names of the data; none where targets are maps.
            data: The section `data` of the config.

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
    def distill_share(self) -> float:
        """Weight of distillation in a supernet's training, see `TaskEntry`."""
        return task_entry(self.name).distill_share

    @property
    @abstractmethod
    def outputs(self) -> int:
        """Number of outputs of timm's head; 0 for a task with a head of its own."""

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

    def section(self) -> dict[str, Any]:
        """Return the section `task` of arch files, which determines the head; empty for timm's."""
        return {}

    @property
    def metadata(self) -> dict[str, str]:
        """The metadata of weights: the section that determines their head, where there is one."""
        section = self.section()
        return {"task": json.dumps(section, sort_keys=True)} if section else {}

    def decode(self, target: Array) -> Array:
        """Convert a map of the data set, as its file stores it, to one of the task.

        Raises:
            ValueError: The map is invalid.
        """
        return target

    def check_maps(self, maps: Iterable[Array]) -> None:  # noqa: B027
        """Refuse the decoded maps of a training split that, all together, teach nothing.

        It reads no more of them than it needs.

        Raises:
            ValueError: They teach nothing.
        """

    def describe_maps(self, maps: Sequence[Array]) -> str:
        """Describe what decoded maps hold, in a line for `tokennas inspect`; empty for nothing."""
        return ""

    def transform(self, input: Mapping[str, Any], augment: AugmentConfig | None) -> Transform:
        """Make the transform of a sample.

        Args:
            input: timm's data config: input size, mean, std, crop, interpolation.
            augment: Augmentation; None for evaluation.

        Raises:
            InputError: The task does not allow the augmentation.
        """
        return ImageTransform(input, augment)

    def fits(self, backbone: VisionTransformer) -> bool:
        """Return whether the backbone's head is one for this task.

        Raises:
            InputError: The task's own head does not fit the backbone.
        """
        return backbone.num_classes == self.outputs

    def accepts(self, metadata: Mapping[str, str], backbone: VisionTransformer) -> bool:
        """Return whether weights can have this task's head, by their metadata.

        Layers of the same sizes may have learned another task: other limits of depth, or blocks.
        """
        if not self.metadata or "task" not in metadata:
            return True
        try:
            task, theirs = read_task(json.loads(metadata["task"]), ()), copy.deepcopy(backbone)
            task.reset_head(theirs, 0)
        except (InputError, ValueError):  # of another version, or of another backbone
            return False
        return self.fits(theirs)

    @abstractmethod
    def reset_head(self, backbone: VisionTransformer, seed: int) -> None:
        """Give the backbone a new head for this task, the same at each call.

        Raises:
            InputError: The task's own head does not fit the backbone.
        """

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


def read_task(section: Mapping[str, Any], classes: Sequence[str]) -> Task:
    """Make the task of an arch file, to make its head.

    Args:
        section: The file's section `task`.
        classes: The file's class names.

    Raises:
        InputError: The section is invalid, or there is no such task.
    """
    reader = Reader(section, ("task",))
    name = reader.entries().get("name", reader).text()
    return task_class(name).from_config(reader, classes, DataConfig())
