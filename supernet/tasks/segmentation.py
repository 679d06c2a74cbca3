"""Semantic segmentation: a class for each pixel.

B images, C classes, (H, W) the size of the targets.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

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
from supernet.tasks.drawing import palette
from supernet.tasks.heads import HeadOptions, resize

# The label of pixels without a class, in targets that are read; so there are at most 255 classes.
VOID = 255
LEAST_CLASSES = 2


@dataclass(frozen=True)
class Segmentation(DenseTask):
    """Semantic segmentation.

    Args:
        classes: Class names, in label order.
        head: Options of the head.
        ignore: The label of the files, after `remap`, that is not learned and does not count.
        remap: New label by label of the files; labels that it lacks stay.
        reduce_zero_label: Whether label 0 of the files is no class, and 1 the first, as in ADE20K.
    """

    name: ClassVar[str] = "segmentation"
    data_keys: ClassVar[tuple[str, ...]] = ("remap", "reduce_zero_label")
    uses_reference: ClassVar[bool] = False
    void: ClassVar[float] = VOID
    stretch: ClassVar[float] = 4 / 3

    classes: Sequence[str]
    head: HeadOptions = field(default_factory=HeadOptions)
    ignore: int = VOID
    remap: Mapping[int, int] = field(default_factory=dict)
    reduce_zero_label: bool = False

    @classmethod
    def from_config(cls, section: Reader, classes: Sequence[str], data: DataConfig) -> Segmentation:
        keys = section.mapping(classes=None, name=cls.name, head={}, ignore=VOID)
        if keys["classes"].value is None:
            raise section.error(
                "missing 'classes', their number or their names in label order, such as "
                "classes: 40 or classes: [floor, wall]"
            )
        check_augmentation(cls.name, data.augment)
        if isinstance(keys["classes"].value, list | tuple):
            names = tuple(each.text() for each in keys["classes"].items())
            if not LEAST_CLASSES <= len(names) <= VOID:
                raise keys["classes"].error(
                    f"must be {LEAST_CLASSES} to {VOID} names, got {len(names)}"
                )
        else:
            names = tuple(map(str, range(keys["classes"].integer(LEAST_CLASSES, VOID))))
        return cls(
            names,
            HeadOptions.read(keys["head"]),
            keys["ignore"].integer(),
            dict(sorted((data.dataset.remap or {}).items())),
            bool(data.dataset.reduce_zero_label),
        )

    @property
    def channels(self) -> int:
        return len(self.classes)

    @property
    def ignored_class(self) -> int:
        """The class of the label `ignore`, which may be beyond the classes."""
        return self.ignore - self.reduce_zero_label

    def identity(self) -> dict[str, Any]:
        return asdict(self)

    def section(self) -> dict[str, Any]:
        values = {"classes": list(self.classes), "ignore": self.ignore}
        return {"name": self.name, **values, "head": self.head.to_dict()}

    def decode(self, target: Array) -> Array:
        """Convert the labels of a file (H, W) to classes, and `VOID` where there is none.

        Raises:
            ValueError: A label is beyond the classes, or no pixel has a class.
        """
        if not np.issubdtype(target.dtype, np.integer):
            raise ValueError(f"holds {target.dtype}, not integers")
        labels = target.astype(np.int64)
        for old, new in self.remap.items():
            labels[target == old] = new
        void = labels == self.ignore
        if self.reduce_zero_label:
            void |= labels == 0
            labels -= 1
        beyond = ~void & ((labels < 0) | (labels >= len(self.classes)))
        if beyond.any():
            # As in the file, or after `remap`.
            least = int(self.reduce_zero_label)
            value, most = labels[beyond].max() + least, len(self.classes) - 1 + least
            raise ValueError(
                f"has the label {value}, beyond the {len(self.classes)} classes ({least} to "
                f"{most}); see task.classes, task.ignore and data.dataset.remap"
            )
        if void.all():
            raise ValueError(
                "has no pixel of a class: all are ignored; see task.ignore and data.dataset.remap"
            )
        return np.where(void, VOID, labels).astype(np.uint8)

    def check_maps(self, maps: Iterable[Array]) -> None:
        """Refuse maps of one class alone, such as masks of 0 and 255, if 255 is ignored.

        Raises:
            ValueError: No second class occurs.
        """
        classes, has_void = set[int](), False
        for each in maps:
            labels = set(np.unique(each).tolist())
            has_void |= VOID in labels
            classes |= labels - {VOID}
            if len(classes) > 1:
                return
        if not classes:
            return
        chosen = self.ignore < self.channels or self.ignore in self.remap.values()
        hint = ""
        if has_void and (chosen or self.reduce_zero_label):
            hint = "; see task.ignore, data.dataset.remap and data.dataset.reduce_zero_label"
        elif has_void:
            hint = (
                f", and ignored ones of label {self.ignore}; if that is a class too, set "
                f"data.dataset.remap: {{{self.ignore}: {int(classes == {0})}}}"
            )
        raise ValueError(f"have pixels of class {min(classes)} alone{hint}")

    def loss(self, output: Tensor, targets: Tensor) -> Tensor:
        """Compute the cross entropy of the pixels with a class, averaged over the images.

        Args:
            output: Logits (B, C, h, w).
            targets: Classes (B, H, W), and `VOID`.
        """
        check_maps(targets)
        entropy = self._cross_entropy(output, targets)
        count = count_pixels(self._is_valid(targets)).clamp(min=1)
        return (entropy.flatten(1).sum(dim=1) / count).mean()

    def distillation(self, output: Tensor, teacher: Tensor) -> Tensor:
        """Compute KL(teacher || network) of each pixel of the network's map, averaged."""
        log_p = resize(at_least_float32(teacher.detach()), output.shape[-2:]).log_softmax(dim=1)
        log_q = at_least_float32(output).log_softmax(dim=1)
        divergence = F.kl_div(log_q, log_p, reduction="none", log_target=True).sum(dim=1)
        return divergence.mean()

    def predict(self, output: Tensor, size: Sequence[int]) -> Tensor:
        """Map logits (B, C, h, w) to classes (B, H, W) of maps of `size`."""
        return torch.cat([_select_classes(each) for each in _enlarge(output, size)])

    def statistics(
        self, output: Tensor, targets: Tensor, reference: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Compute the pixels of each class and the other metrics, for each image.

        Returns:
            `intersection` and `union` of each class in pixels, (B, C); the number of pixels with a
            class, `pixel_accuracy` and `cross_entropy`, (B,). Others do not count.
        """
        check_maps(targets)
        classes, valid = len(self.classes), self._is_valid(targets)
        maps, entropies = [], []
        enlarged = _enlarge(output, targets.shape[-2:])
        for logits, target in zip(enlarged, targets.split(1), strict=True):
            maps.append(_select_classes(logits))
            entropies.append(self._cross_entropy(logits, target))
        predicted, truth = torch.cat(maps), targets.long()
        hit = valid & (predicted == truth)

        def count(labels: Tensor, mask: Tensor) -> Tensor:
            pairs = zip(labels, mask, strict=True)
            return torch.stack(
                [torch.bincount(x[inside], minlength=classes) for x, inside in pairs]
            )

        intersection = count(truth, hit)
        union = count(truth, valid) + count(predicted, valid) - intersection
        # An image whose logits are NaN has no accuracy.
        is_nan = output.isnan().flatten(1).any(dim=1)
        accuracy = per_image(hit.to(at_least_float32(output).dtype), valid)
        return {
            PIXELS: count_pixels(valid),
            "intersection": intersection,
            "union": union,
            "pixel_accuracy": accuracy.masked_fill(is_nan, torch.nan),
            "cross_entropy": per_image(torch.cat(entropies), valid),
        }

    @property
    def image_values(self) -> str:
        return "labels of the classes"

    def to_image(self, prediction: Array) -> Image.Image:
        """Convert classes (H, W) to labels of 8 bits, as they are after `remap`, with a palette."""
        shift = int(self.reduce_zero_label)
        image = Image.fromarray((prediction + shift).astype(np.uint8))
        image.putpalette(np.roll(palette(), shift, axis=0).tobytes())
        return image

    def reduce(self, statistics: Mapping[str, Array]) -> dict[str, float]:
        """Compute the metrics of a split: mIoU is the mean over the classes that occur.

        The accuracy is that of all pixels together. An ignored class does not count.

        Raises:
            InputError: No image has a pixel of a class.
        """
        means = super().reduce(statistics)
        intersection, union = (statistics[key].sum(axis=0) for key in ("intersection", "union"))
        occurs = union > 0
        if 0 <= self.ignored_class < self.channels:
            occurs[self.ignored_class] = False
        miou = float((intersection[occurs] / union[occurs]).mean())
        pooled = float(intersection.sum() / statistics[PIXELS].sum())
        # Neither is known where the accuracy of an image is not.
        known = not math.isnan(means["pixel_accuracy"])
        sums = {"miou": miou, "pixel_accuracy": pooled}
        return {
            **{name: x if known else math.nan for name, x in sums.items()},
            **{name: x for name, x in means.items() if name not in sums},
        }

    def _is_valid(self, targets: Tensor) -> Tensor:
        """Return which pixels have a class that is learned, (B, H, W) of bool."""
        labels = targets.long()
        return (labels != VOID) & (labels != self.ignored_class)

    def _cross_entropy(self, output: Tensor, targets: Tensor) -> Tensor:
        """Compute the cross entropy of each pixel, (B, H, W), 0 without a class."""
        logits = resize(at_least_float32(output), targets.shape[-2:])
        labels = targets.long().masked_fill(~self._is_valid(targets), VOID)
        return F.cross_entropy(logits, labels, ignore_index=VOID, reduction="none")


def _enlarge(output: Tensor, size: Sequence[int]) -> Iterator[Tensor]:
    """Yield the logits of each image at the size of its map, (1, C, H, W).

    One image at a time: the logits of large maps of many classes fill the memory.
    """
    for logits in at_least_float32(output).split(1):
        yield resize(logits, tuple(size))


def _select_classes(logits: Tensor) -> Tensor:
    """Select the class of the greatest logit for each pixel, the first of equal ones; (B, H, W)."""
    # Not `argmax`, which takes three times as long over this dimension on CPUs.
    return logits.max(dim=1).indices
