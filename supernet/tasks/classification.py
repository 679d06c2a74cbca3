"""What a network is trained and judged for: classification. Nothing else says cross entropy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from timm.data.mixup import Mixup
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor
from torch.nn import functional as F

from space.utils.errors import InputError


@dataclass(frozen=True)
class Classification:
    """One label of several for an image.

    Args:
        classes: names, in label order.
        smoothing: label smoothing in training.
        mixup, cutmix: alphas of timm's `Mixup`; 0 turns it off.
        mix_prob: share of the batches that are mixed.
        switch_prob: share of CutMix where both are on.
    """

    classes: Sequence[str]
    smoothing: float = 0.1
    mixup: float = 0.0
    cutmix: float = 0.0
    mix_prob: float = 1.0
    switch_prob: float = 0.5
    directions: Mapping[str, str] = field(
        default_factory=lambda: {"top1": "max", "top5": "max", "cross_entropy": "min", "kl": "min"},
        init=False,
    )

    @property
    def mixes(self) -> bool:
        return self.mixup > 0 or self.cutmix > 0

    def mix(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Mixup and CutMix, by numpy's global generator: targets (B,) become (B, classes)."""
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

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Mean cross entropy with labels (B,), smoothed, or mixed labels (B, classes)."""
        smoothing = self.smoothing if targets.ndim == 1 else 0.0
        return F.cross_entropy(at_least_float32(logits), targets, label_smoothing=smoothing)

    def distillation(self, logits: Tensor, teacher: Tensor) -> Tensor:
        """Mean KL(teacher || network) over the batch; no gradient reaches the teacher."""
        return self.divergence(logits, teacher.detach()).mean()

    def divergence(self, logits: Tensor, reference: Tensor) -> Tensor:
        """KL(reference || network) of each image, (B,)."""
        log_p = at_least_float32(reference).log_softmax(dim=-1)
        log_q = at_least_float32(logits).log_softmax(dim=-1)
        return F.kl_div(log_q, log_p, reduction="none", log_target=True).sum(dim=-1)

    def measure(
        self, logits: Tensor, targets: Tensor, reference: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Metrics of each image, (B,) each; their mean over a split is the metric.

        Args:
            logits: (B, classes).
            targets: labels (B,).
            reference: logits of the full network, for `kl`.
        """
        logits = at_least_float32(logits)
        own = logits.gather(1, targets[:, None])
        lower = torch.arange(logits.shape[1], device=logits.device) < targets[:, None]
        # Of equal logits the lower label comes first, as in argmax.
        rank = ((logits > own) | ((logits == own) & lower)).sum(dim=1).to(logits.dtype)
        rank = rank.masked_fill(logits.isnan().any(dim=1), torch.nan)
        found = {
            "top1": _among(rank, 1),
            "top5": _among(rank, 5),
            "cross_entropy": F.cross_entropy(logits, targets, reduction="none"),
        }
        if reference is not None:
            found["kl"] = self.divergence(logits, reference)
        return found

    def fits(self, backbone: VisionTransformer) -> bool:
        """Whether the backbone's head has this task's outputs."""
        return backbone.num_classes == len(self.classes)

    def reset_head(self, backbone: VisionTransformer, seed: int) -> None:
        """Give the backbone a new head for this task, the same at each call."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            backbone.reset_classifier(len(self.classes))

    def check_batch(self, batch: int, place: str = "data.batch") -> None:
        """Refuse what timm's Mixup cannot mix; `place` says where the batch comes from.

        Raises:
            InputError: mixing is on and the batch size is odd.
        """
        if self.mixes and batch % 2:
            raise InputError(f"{place}: mixup and cutmix need an even batch, got {batch}")


def _among(rank: Tensor, first: int) -> Tensor:
    """1 where the label is among the first, else 0; NaN where there is no rank."""
    return torch.where(rank.isnan(), rank, (rank < first).to(rank.dtype))


def at_least_float32(x: Tensor) -> Tensor:
    """Half precision to float32; float64 stays."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
