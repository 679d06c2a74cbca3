"""Transforms of a sample: of the image alone by timm, of image and map together by torchvision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from numpy.typing import NDArray
from PIL import Image
from timm.data import create_transform
from timm.data.transforms import str_to_interp_mode
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from space.utils.errors import InputError
from supernet.config import AugmentConfig

GREY = 1
# Least and greatest share of an image's area in a crop, where the config gives none.
CROP_SCALE = (0.35, 1.0)
DEPTH_CROP_SCALE = (0.8, 1.0)  # smaller crops make predicted depths too small, see docs/tasks.md


class Transform(Protocol):
    """A function from an RGB image and its target to tensors: image (C, h, w), and target."""

    def __call__(self, image: Image.Image, target: Any) -> tuple[Tensor, Any]: ...


class ImageTransform:
    """timm's transform of the image; the target, a plain value, stays as it is.

    Args:
        input: timm's data config: input size, mean, std, crop, interpolation.
        augment: Augmentation; None for evaluation.

    Raises:
        InputError: The augmentation needs a target that is a map.
    """

    def __init__(self, input: Mapping[str, Any], augment: AugmentConfig | None) -> None:
        args: dict[str, Any] = {}
        if augment is not None:
            if augment.rotation:
                raise InputError(
                    f"data.augment.rotation: {augment.rotation:g} is for tasks whose targets are "
                    "maps; auto_augment has rotations too"
                )
            args = {
                "is_training": True,
                "scale": augment.crop_scale or CROP_SCALE,
                "hflip": augment.hflip,
                "color_jitter": augment.color_jitter,
                "auto_augment": augment.auto_augment,
                "re_prob": augment.erasing,
                "re_mode": "pixel",
            }
        self.transform = create_transform(**input, **args)
        self.grey = v2.Grayscale() if input["input_size"][0] == GREY else v2.Identity()

    def __call__(self, image: Image.Image, target: Any) -> tuple[Tensor, Any]:
        return self.transform(self.grey(image)), target


@dataclass(frozen=True)
class MapTransform:
    """The transform of an image together with its map, such as depth or labels of pixels.

    Evaluation resizes the whole image to the input size, without a crop, and leaves the map at the
    size of its file. Training rotates, crops and flips both, and resizes both to the input size;
    colours change in the image alone. A crop has the shape of the whole image, up to the factor
    `stretch`, so that objects are stretched as in evaluation.

    Args:
        input: timm's data config: input size, mean, std, interpolation.
        augment: Augmentation; None for evaluation.
        void: Value of pixels without a target, which rotation puts into the corners.
        stretch: Greatest factor between the sides' ratios of a crop and the whole image.
        is_depth: Whether values are distances: a crop that is enlarged z times looks as from a
            point z times nearer, so they are divided by z (Eigen et al., arXiv 1406.2283, 3.4).
    """

    input: Mapping[str, Any]
    augment: AugmentConfig | None
    void: float
    stretch: float = 1.0
    is_depth: bool = False

    def __call__(self, image: Image.Image, target: NDArray[Any]) -> tuple[Tensor, Tensor]:
        channels, *size = self.input["input_size"]
        values = torch.from_numpy(target)
        if self.augment is None:
            image = F.resize(image, size, interpolation=self._interpolation)
        else:
            image, values = self._rotate(image, values, self.augment.rotation or 0.0)
            scale = DEPTH_CROP_SCALE if self.is_depth else CROP_SCALE
            image, values = self._crop(image, values, self.augment.crop_scale or scale)
            if torch.rand(()) < self.augment.hflip:
                image, values = F.horizontal_flip(image), F.horizontal_flip(values)
            strength = self.augment.color_jitter
            image = v2.ColorJitter(strength, strength, strength)(image)
        if channels == GREY:
            image = F.to_grayscale(image)
        pixels = F.to_dtype(F.pil_to_tensor(image), torch.float32, scale=True)
        return F.normalize(pixels, list(self.input["mean"]), list(self.input["std"])), values

    @property
    def _interpolation(self) -> v2.InterpolationMode:
        return str_to_interp_mode(self.input["interpolation"])

    def _rotate(
        self, image: Image.Image, values: Tensor, degrees: float
    ) -> tuple[Image.Image, Tensor]:
        """Rotate both around their centre, by up to `degrees` either way."""
        if not degrees:
            return image, values
        angle = float(torch.empty(()).uniform_(-degrees, degrees))
        mean = list(self.input["mean"])
        colour = [255 * value for value in (3 * mean if len(mean) == GREY else mean)]
        bilinear = v2.InterpolationMode.BILINEAR
        image = F.rotate(image, angle, interpolation=bilinear, fill=colour)
        return image, F.rotate(values[None], angle, fill=self.void)[0]

    def _crop(
        self, image: Image.Image, values: Tensor, scale: Sequence[float]
    ) -> tuple[Image.Image, Tensor]:
        """Crop both at random, to a share of the area, and resize them to the input size."""
        size, shape = list(self.input["input_size"][1:]), image.width / image.height
        ratios = [shape / self.stretch, shape * self.stretch]
        box = v2.RandomResizedCrop.get_params(image, list(scale), ratios)
        image = F.resized_crop(image, *box, size=size, interpolation=self._interpolation)
        # `nearest` would take the upper left one of the pixels under each.
        nearest = v2.InterpolationMode.NEAREST_EXACT
        resized = F.resize(F.crop(values[None], *box), size, interpolation=nearest)[0]
        if self.is_depth:
            # The zoom of both axes together; with a stretch of 1 it is that of each.
            resized = resized * (box[2] * box[3] / values.numel()) ** 0.5
        return image, resized
