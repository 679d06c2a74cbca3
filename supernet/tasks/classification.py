"""Image classification with timm's own head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from timm.data.mixup import Mixup
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor
from torch.nn import functional as F

from space.utils.errors import InputError
from space.utils.reader import Reader
from supernet.config import DataConfig
from supernet.precision import at_least_float32
from supernet.tasks.base import Array, Task

# Checkpoints store it in the task's identity, so it never changes; new metrics go elsewhere.
_STORED_DIRECTIONS = {"top1": "max", "top5": "max", "cross_entropy": "min", "kl": "min"}


@dataclass(frozen=True)
class Classification(Task):
    """Image classification with one label per image.

    Args:
        classes: Class names, in label order.
        smoothing: Label smoothing in training.
        mixup, cutmix: Alphas of timm's `Mixup`; 0 turns it off.
        mix_prob: Probability that a batch is mixed.
        switch_prob: Probability of CutMix instead of mixup, if both are on.
    """

    name: ClassVar[str] = "classification"

    classes: Sequence[str]
    smoothing: float = 0.1
    mixup: float = 0.0
    cutmix: float = 0.0
    mix_prob: float = 1.0
    switch_prob: float = 0.5

    @classmethod
    def from_config(
        cls, section: Reader, classes: Sequence[str], data: DataConfig
    ) -> Classification:
        section.mapping(name=cls.name)
        augment = data.augment
        return cls(
            classes,
            augment.smoothing,
            augment.mixup,
            augment.cutmix,
            augment.mix_prob,
            augment.switch_prob,
        )

    @property
    def outputs(self) -> int:
        return len(self.classes)

    def identity(self) -> dict[str, Any]:
        return asdict(self) | {"directions": _STORED_DIRECTIONS}

    @property
    def mixes(self) -> bool:
        return self.mixup > 0 or self.cutmix > 0

    def mix(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Apply mixup and CutMix by numpy's global generator: targets (B,) become (B, classes)."""
        if not self.mixes:
            return images, targets
        self.check_batch(len(images), "train")
        mixup: Any = Mixup(
            mixup_alpha=self.mixup,
            cutmix_alpha=self.cutmix,
            prob=self.mix_prob,
            switch_prob=self.switch_prob,
            label_smoothing=self.smoothing,
            num_classes=len(self.classes),
        )
        # Mixup works in place, and the images may be a user's own.
        mixed: tuple[Tensor, Tensor] = mixup(images.clone(), targets)
        return mixed

    def loss(self, output: Tensor, targets: Tensor) -> Tensor:
        """Compute the mean cross entropy with (smoothed) labels (B,) or mixed ones (B, classes)."""
        smoothing = self.smoothing if targets.ndim == 1 else 0.0
        return F.cross_entropy(at_least_float32(output), targets, label_smoothing=smoothing)

    def distillation(self, output: Tensor, teacher: Tensor) -> Tensor:
        """Compute the mean KL(teacher || network), without gradient to the teacher."""
        return self.divergence(output, teacher.detach()).mean()

    def divergence(self, logits: Tensor, reference: Tensor) -> Tensor:
        """Compute KL(reference || network) of each image, (B,)."""
        log_p = at_least_float32(reference).log_softmax(dim=-1)
        log_q = at_least_float32(logits).log_softmax(dim=-1)
        return F.kl_div(log_q, log_p, reduction="none", log_target=True).sum(dim=-1)

    def statistics(
        self, output: Tensor, targets: Tensor, reference: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Compute the metrics of each image, (B,) each; their mean is the metric of a split.

        Args:
            output: Logits (B, classes).
            targets: Labels (B,).
            reference: Logits of the full network, for `kl`.
        """
        logits = at_least_float32(output)
        target_logits = logits.gather(1, targets[:, None])
        is_lower = torch.arange(logits.shape[1], device=logits.device) < targets[:, None]
        # Of equal logits the lower label comes first, as in argmax.
        rank = ((logits > target_logits) | ((logits == target_logits) & is_lower)).sum(dim=1)
        is_nan = logits.isnan().any(dim=1)

        def is_in_top(k: int) -> Tensor:
            return (rank < k).to(logits.dtype).masked_fill(is_nan, torch.nan)

        statistics = {
            "top1": is_in_top(1),
            "top5": is_in_top(5),
            "cross_entropy": F.cross_entropy(logits, targets, reduction="none"),
        }
        if reference is not None:
            statistics["kl"] = self.divergence(logits, reference)
        return statistics

    def reset_head(self, backbone: VisionTransformer, seed: int) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            backbone.reset_classifier(len(self.classes))

    def check_batch(self, batch: int, place: str = "data.batch") -> None:
        # timm's Mixup pairs the images of a batch.
        if self.mixes and batch % 2:
            raise InputError(f"{place}: mixup and cutmix need an even batch, got {batch}")

    def strata(self, targets: Array) -> Array:
        return np.asarray(targets, dtype=np.int64)
