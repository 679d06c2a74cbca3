"""The base class of tasks that predict a map: a value, or a class, for each pixel.

B images, C outputs of the head, (h, w) its map, (H, W) the map of a target.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from PIL import Image
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from space.rules import Rules
from space.utils.errors import InputError
from supernet.backbones.dense_head import remove_head, set_head
from supernet.config import AugmentConfig
from supernet.tasks.base import Array, Task
from supernet.tasks.heads import HeadOptions, TaskHead
from supernet.tasks.map_contents import describe_distances, describe_labels
from supernet.tasks.registry import task_entry
from supernet.tasks.transforms import MapTransform, Transform

# Augmentations that have no meaning for maps.
FOR_LABELS = ("auto_augment", "erasing", "mixup", "cutmix")
# The statistic that counts the pixels of an image with a target. Other statistics of an image
# without any are NaN, and do not count.
PIXELS = "pixels"


class DenseTask(Task):
    """A task whose targets are maps, as its head predicts them from the tokens of some blocks.

    Attributes:
        head: Options of the head.
        void: Value of pixels without a target, in targets that are read.
        is_distance: Whether targets are distances, see `MapTransform`.
        stretch: See `MapTransform`.
    """

    dense: ClassVar[bool] = True
    rules: ClassVar[Rules] = Rules(keep_2d=True)
    is_distance: ClassVar[bool] = False
    stretch: ClassVar[float] = 1.0
    void: ClassVar[float] = 0.0
    head: HeadOptions

    @property
    @abstractmethod
    def channels(self) -> int:
        """Channels of the head's last layer."""

    @property
    def outputs(self) -> int:
        """Number of outputs of timm's head: none, as the task has a head of its own."""
        return 0

    @property
    def needs(self) -> str:
        return f"the task {self.name} a {self.head.name} head"

    def activation(self) -> nn.Module:
        """Return the function of the last layer's output that gives the network's output."""
        return nn.Identity()

    def fits(self, backbone: VisionTransformer) -> bool:
        head = backbone.head
        return (
            isinstance(head, TaskHead)
            and head.options == self.head.resolve(backbone)
            and head.outputs == self.channels
            and repr(head.activation) == repr(self.activation())
        )

    def reset_head(self, backbone: VisionTransformer, seed: int) -> None:
        _check_size(backbone)
        name = task_entry(self.name).output
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            head = self.head.make(backbone, self.channels, self.activation(), name)
        remove_head(backbone)
        like = next(backbone.parameters())
        set_head(backbone, head.to(like.device, like.dtype).train(backbone.training))

    @abstractmethod
    def predict(self, output: Tensor, size: Sequence[int]) -> Tensor:
        """Map the output (B, C, h, w) of a network to maps of `size`, (B, H, W)."""

    @property
    @abstractmethod
    def image_values(self) -> str:
        """What the values of `to_image` mean, for messages."""

    @abstractmethod
    def to_image(self, prediction: Array) -> Image.Image:
        """Convert a predicted map (H, W) to an image file as the data set `pairs` reads it."""

    def describe_maps(self, maps: Sequence[Array]) -> str:
        if self.classes:
            return describe_labels(maps, self.classes)
        return describe_distances(maps) if self.is_distance else ""

    def transform(self, input: Mapping[str, Any], augment: AugmentConfig | None) -> Transform:
        return MapTransform(input, augment, self.void, self.stretch, self.is_distance)

    def reduce(self, statistics: Mapping[str, Array]) -> dict[str, float]:
        """Average the metrics over the images that have a pixel with a target.

        Raises:
            InputError: No image has one.
        """
        counted = statistics[PIXELS] > 0
        if not counted.any():
            raise InputError(f"{self.name}: no pixel of the {len(counted)} images has a target")
        names = [each.name for each in self.metrics if each.name in statistics]
        return {name: float(statistics[name][counted].mean()) for name in names}


def _check_size(backbone: VisionTransformer) -> None:
    """Refuse an input size whose border no patch would see.

    Raises:
        InputError: A side is no multiple of the patch's.
    """
    size, patch = backbone.patch_embed.img_size, backbone.patch_embed.patch_size
    rounded = [max(1, round(side / unit)) * unit for side, unit in zip(size, patch, strict=True)]
    if list(size) != rounded:
        raise InputError(
            f"backbone.args: img_size is {list(size)}, its sides must be multiples of the patch of "
            f"{patch[0]} x {patch[1]}, such as {rounded}"
        )


def check_augmentation(name: str, augment: AugmentConfig) -> None:
    """Refuse augmentations that have no meaning for maps.

    Raises:
        InputError: One of them is turned on.
    """
    values = {key: getattr(augment, key) for key in FOR_LABELS}
    if augment.smoothing != AugmentConfig.smoothing:  # the default, which other tasks leave alone
        values["smoothing"] = augment.smoothing
    for key, value in values.items():
        if value:
            raise InputError(f"data.augment.{key}: {value} is for classification, not for {name}")


def check_maps(targets: Tensor) -> None:
    """Refuse targets of a user's own loader that are not one map for each image.

    Raises:
        InputError: They have another number of dimensions.
    """
    if targets.ndim != 3:
        raise InputError(f"targets must be maps (B, H, W), got the shape {list(targets.shape)}")


def per_image(values: Tensor, valid: Tensor) -> Tensor:
    """Average values (B, ...) over the valid pixels of each image: (B,); NaN where none is."""
    masked = torch.where(valid, values, values.new_zeros(()))
    return masked.flatten(1).sum(dim=1) / count_pixels(valid)


def count_pixels(valid: Tensor) -> Tensor:
    """Count the valid pixels (B, ...) of each image, (B,)."""
    return valid.flatten(1).sum(dim=1)
