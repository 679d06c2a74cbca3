"""Depth of each pixel, in metres.

B images, (h, w) the network's map, (H, W) the size of the targets; 0 in a target is no measurement.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from space.utils.errors import InputError
from space.utils.reader import Reader
from supernet.config import DataConfig
from supernet.precision import at_least_float32
from supernet.tasks.base import Array
from supernet.tasks.dense import (
    PIXELS,
    DenseTask,
    check_augmentation,
    check_maps,
    count_pixels,
    per_image,
)
from supernet.tasks.heads import HeadOptions, resize

Output = Literal["bins", "log"]

BINS = 256
# Of each bin, so that a pixel whose weights are all negative has a depth.
LEAST_WEIGHT = 0.1
# Factor of the mean's square in the scale-invariant loss, and weight of the gradient term.
MEAN_FACTOR, GRADIENT_WEIGHT, GRADIENT_SCALES, DISTILLATION_WEIGHT = 0.15, 0.5, 4, 2.0
DELTA = 1.25
MAX_UNITS = 65_535  # in files of 16 bits


@dataclass(frozen=True)
class Depth(DenseTask):
    """Depth estimation.

    Args:
        head: Options of the head.
        max_depth: Greatest depth in metres; pixels beyond it have no target.
        min_depth: Least depth.
        output: Form of the prediction: the mean of 256 uniform bins (`bins`, as DINOv2's protocol),
            or the logarithm of depth (`log`).
        crop: Rows from, to and columns from, to of evaluation, in pixels of the target; None for
            all of it.
        scale: Metres of one unit in the depth files; None for 1, which integers must not have.
        invalid: Value of the files for no measurement, besides 0, NaN and infinity.
    """

    name: ClassVar[str] = "depth"
    data_keys: ClassVar[tuple[str, ...]] = ("scale", "invalid")
    is_distance: ClassVar[bool] = True
    uses_reference: ClassVar[bool] = False

    head: HeadOptions = field(default_factory=HeadOptions)
    max_depth: float = 10.0
    min_depth: float = 1e-3
    output: Output = "bins"
    crop: tuple[int, int, int, int] | None = None
    scale: float | None = None
    invalid: float | None = None

    @classmethod
    def from_config(cls, section: Reader, classes: Sequence[str], data: DataConfig) -> Depth:
        keys = section.mapping(
            name=cls.name, head={}, max_depth=10.0, min_depth=1e-3, output="bins", crop=None
        )
        check_augmentation(cls.name, data.augment)
        most, least = keys["max_depth"].positive(), keys["min_depth"].positive()
        if least >= most:
            raise keys["min_depth"].error(f"must be below max_depth, {most:g}, got {least:g}")
        crop = None
        if keys["crop"].value is not None:
            rows = [each.integer() for each in keys["crop"].items()]
            if len(rows) != 4 or rows[0] >= rows[1] or rows[2] >= rows[3]:
                raise keys["crop"].error(f"must be rows from, to, columns from, to, got {rows}")
            crop = rows[0], rows[1], rows[2], rows[3]
        return cls(
            HeadOptions.read(keys["head"]),
            most,
            least,
            keys["output"].choice(("bins", "log")),
            crop,
            data.dataset.scale,
            data.dataset.invalid,
        )

    @property
    def channels(self) -> int:
        return BINS if self.output == "bins" else 1

    @property
    def stored_scale(self) -> float:
        """Metres of one unit in saved predictions: a power of ten, such that 16 bits suffice."""
        return float(10.0 ** max(-3, math.ceil(math.log10(self.max_depth / MAX_UNITS))))

    @property
    def contents(self) -> str:
        return f"depth up to {self.max_depth:g} m"

    def identity(self) -> dict[str, Any]:
        return asdict(self)

    def section(self) -> dict[str, Any]:
        values = {"max_depth": self.max_depth, "min_depth": self.min_depth, "output": self.output}
        return {"name": self.name, **values, "head": self.head.to_dict()}

    def decode(self, target: Array) -> Array:
        """Convert the values of a file (H, W) to metres, 0 where there is no measurement.

        Raises:
            ValueError: Integers have no scale, no pixel has a valid depth, none in the crop of
                evaluation, or the map is smaller than that.
        """
        height, width = target.shape
        top, bottom, left, right = crop = self.crop or (0, height, 0, width)
        if bottom > height or right > width:
            raise ValueError(f"is {width} x {height} pixels, smaller than task.crop, {list(crop)}")
        if self.scale is None and not np.issubdtype(target.dtype, np.floating):
            raise ValueError(
                "holds integers: data.dataset.scale must say how many metres one is, such as 0.001"
            )
        # Not in float32, in which 3000 x 0.001 is beyond 3.
        metres = target.astype(np.float64) * (self.scale or 1.0)
        measured = np.isfinite(metres) & (metres != 0)
        if self.invalid is not None:
            measured &= target != self.invalid
        valid = measured & (metres >= self.min_depth) & (metres <= self.max_depth)
        if not valid.any():
            span = "no measurement"
            if measured.any():
                span = f"{metres[measured].min():g} to {metres[measured].max():g} m"
            raise ValueError(
                f"has no depth in {self.min_depth:g} to {self.max_depth:g} m (it holds {span}); "
                "see data.dataset.scale and task.max_depth"
            )
        if not valid[top:bottom, left:right].any():
            raise ValueError(f"has no depth inside task.crop, {list(crop)}")
        return np.where(valid, metres, 0.0).astype(np.float32)

    def activation(self) -> nn.Module:
        form = BinDepth if self.output == "bins" else LogDepth
        return form(self.min_depth, self.max_depth)

    def predict(self, output: Tensor, size: Sequence[int]) -> Tensor:
        """Resize the output (B, 1, h, w) to maps (B, H, W) of `size`."""
        return resize(at_least_float32(output), tuple(size))[:, 0]

    def loss(self, output: Tensor, targets: Tensor) -> Tensor:
        """Compute the scale-invariant log loss with a gradient term, averaged over the images.

        With g the difference of the logarithms: sqrt(var(g) + 0.15 mean(g)^2) over the valid
        pixels, and half the sum, over both directions and distances of 2, 4, 8 and 16 pixels, of
        the absolute differences of g per valid pixel. As DINOv2's protocol (arXiv 2304.07193), with
        the gradient term of arXiv 1804.00607.

        Args:
            output: Depth (B, 1, h, w).
            targets: Depth (B, H, W), 0 where there is no measurement.
        """
        check_maps(targets)
        depth, valid = self.predict(output, targets.shape[-2:]), self._is_valid(targets)
        g = torch.where(valid, depth.log() - targets.where(valid, depth.new_ones(())).log(), 0.0)
        count = count_pixels(valid).clamp(min=1)
        mean = g.flatten(1).sum(dim=1) / count
        square = g.square().flatten(1).sum(dim=1) / count
        # Over 0, where the root has no gradient.
        invariant = (square - (1 - MEAN_FACTOR) * mean.square()).clamp(min=1e-8).sqrt()
        return (invariant + GRADIENT_WEIGHT * gradient_term(g, valid)).mean()

    def distillation(self, output: Tensor, teacher: Tensor) -> Tensor:
        """Compute twice the mean squared difference of the logarithms of depth.

        Its gradient vanishes with the difference, unlike that of the absolute one, which outweighs
        the labels however close the two are. The factor makes it as large as the labels' gradient
        at an error of a quarter.
        """
        expected = resize(at_least_float32(teacher.detach()), output.shape[-2:])
        difference = at_least_float32(output).log() - expected.log()
        return DISTILLATION_WEIGHT * difference.square().mean()

    def statistics(
        self, output: Tensor, targets: Tensor, reference: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Compute the metrics of each image over its valid pixels, and their number, (B,) each.

        Raises:
            InputError: The crop is larger than the targets.
        """
        check_maps(targets)
        depth = self.predict(output, targets.shape[-2:]).clamp(self.min_depth, self.max_depth)
        depth, targets = self.crop_maps(depth), self.crop_maps(targets)
        valid = self._is_valid(targets)
        truth = targets.to(depth.dtype).where(valid, depth.new_ones(()))
        error, g = depth - truth, depth.log() - truth.log()
        is_close = torch.maximum(depth / truth, truth / depth) < DELTA
        mean = per_image(g, valid)
        variance = per_image((g - mean[:, None, None]).square(), valid)
        return {
            PIXELS: count_pixels(valid),
            "rmse": per_image(error.square(), valid).sqrt(),
            "abs_rel": per_image(error.abs() / truth, valid),
            "delta1": per_image(is_close.to(depth.dtype).where(~depth.isnan(), torch.nan), valid),
            "silog": 100 * variance.sqrt(),
        }

    @property
    def image_values(self) -> str:
        return f"depth in units of {self.stored_scale:g} m (scale: {self.stored_scale:g})"

    def to_image(self, prediction: Array) -> Image.Image:
        """Convert depth in metres (H, W) to 16 bits of millimetres, or of `stored_scale` metres."""
        units = np.clip(np.round(prediction / self.stored_scale), 0, MAX_UNITS)
        return Image.fromarray(units.astype(np.uint16))

    def _is_valid(self, targets: Tensor) -> Tensor:
        """Return which pixels have a measurement within the limits, (B, H, W) of bool."""
        return (targets >= self.min_depth) & (targets <= self.max_depth)

    def crop_maps(self, maps: Tensor) -> Tensor:
        """Crop maps (B, H, W) to the part that is evaluated."""
        if self.crop is None:
            return maps
        top, bottom, left, right = self.crop
        height, width = maps.shape[-2:]
        if bottom > height or right > width:
            raise InputError(
                f"task.crop: reaches to row {bottom} and column {right}, the maps have {height} x "
                f"{width} pixels"
            )
        return maps[..., top:bottom, left:right]


class BinDepth(nn.Module):
    """Depth as the mean of uniform bins by their weights (AdaBins' form, as in DINOv2's protocol).

    Args:
        low, high: The first and the last bin, in metres.
    """

    def __init__(self, low: float, high: float) -> None:
        super().__init__()
        self.low, self.high = low, high

    def forward(self, x: Tensor) -> Tensor:
        """Map weights of bins (B, bins, h, w), before a ReLU, to depth (B, 1, h, w)."""
        weights = F.relu(at_least_float32(x)) + LEAST_WEIGHT
        bins = torch.linspace(self.low, self.high, x.shape[1], device=x.device)
        total = (weights * bins.to(weights.dtype)[:, None, None]).sum(dim=1, keepdim=True)
        return total / weights.sum(dim=1, keepdim=True)

    def extra_repr(self) -> str:
        return f"{self.low:g}, {self.high:g}"


class LogDepth(BinDepth):
    """Depth by its logarithm.

    Args:
        low, high: Limits of the depth, in metres, which hold in evaluation alone: in training,
            pixels beyond them would have no gradient.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map logarithms (B, 1, h, w), up to a constant, to depth (B, 1, h, w)."""
        low, high = math.log(self.low), math.log(self.high)
        # A new head, whose outputs are near 0, begins with a quarter of the greatest depth, where
        # that is in the upper half of the limits.
        logarithms = at_least_float32(x) + max(high - math.log(4), (low + high) / 2)
        if not self.training:
            logarithms = logarithms.clamp(low, high)
        return logarithms.exp()


def gradient_term(g: Tensor, valid: Tensor) -> Tensor:
    """Compute the multi-scale gradient term of log differences (B, H, W) per image, (B,)."""
    total = g.new_zeros(len(g))
    for scale in range(GRADIENT_SCALES):
        step = 2**scale
        x, mask = g[:, ::step, ::step], valid[:, ::step, ::step]
        count = mask.flatten(1).sum(dim=1).clamp(min=1)
        for axis in (1, 2):
            length = x.shape[axis] - 2
            if length < 1:
                continue
            both = mask.narrow(axis, 0, length) & mask.narrow(axis, 2, length)
            steps = (x.narrow(axis, 0, length) - x.narrow(axis, 2, length)).abs() * both
            total = total + steps.flatten(1).sum(dim=1) / count
    return total
