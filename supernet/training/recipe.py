"""Training recipes. No import of torch, so that --help is fast."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from space.utils.errors import InputError, shown
from supernet.config import Amp

SCHEDULES = ("cosine", "tanh", "step", "multistep", "poly", "wsd", "rsqrt", "constant")


@dataclass(frozen=True)
class Recipe:
    """A training recipe.

    Args:
        epochs: Passes over the training images.
        optimizer: Name of a timm optimiser.
        lr: Learning rate.
        weight_decay: Weight decay; not on biases, norms, positions, prefix tokens, pooling kernels
            and map selectors.
        layer_decay: Factor of the learning rate from block to block, last to first; null for 1.
        optimizer_args: More arguments for the optimiser, such as `betas`.
        schedule: Name of a timm schedule that can be stepped at every update.
        warmup_epochs: Epochs of linear warm-up.
        min_lr: Learning rate at the start of warm-up, and the lowest one of schedules that decay.
        clip: Maximum gradient norm, of the network and of its selectors each; null for no clipping,
            as in timm and DeiT. The log shows the norms.
        accumulate: Batches per optimiser step.
        ema: Decay of the weight average, which is then evaluated and kept; null for no average.
        amp: Whether to use bfloat16 autocast: `true`, `false`, or `auto` for where it is faster: on
            GPUs with bfloat16, and on many CPUs for networks that are wide enough. A training keeps
            the decision that it began with; the log shows it.
        grad_checkpointing: Whether to recompute activations in the backward pass, to save memory.
        selector_lr: Learning rate of map selectors, in an optimiser group of their own.
        selector_share: Share of the images that map selectors learn from.
        teacher_share: Weight of distillation in the loss on the labels, if there is a teacher.
        save_minutes: Minutes between checkpoints inside an epoch.
    """

    section: ClassVar[str] = "recipe"
    # Values that may change on resume: they do not alter the trained weights.
    free: ClassVar[frozenset[str]] = frozenset({"save_minutes", "grad_checkpointing"})

    epochs: int = 30
    optimizer: str = "adamw"
    lr: float = 1e-3
    weight_decay: float = 0.05
    layer_decay: float | None = None
    optimizer_args: dict[str, Any] = field(default_factory=dict)
    schedule: str = "cosine"
    warmup_epochs: int = 0
    min_lr: float = 1e-6
    clip: float | None = None
    accumulate: int = 1
    ema: float | None = None
    amp: Amp = "auto"
    grad_checkpointing: bool = False
    selector_lr: float = 1e-3
    selector_share: float = 0.25
    teacher_share: float = 0.5
    save_minutes: float = 5.0

    def __post_init__(self) -> None:
        self._require("epochs", self.epochs >= 1, "be at least 1")
        self._require("lr", self.lr > 0, "be above 0")
        self._require("schedule", self.schedule in SCHEDULES, f"be one of {', '.join(SCHEDULES)}")
        self._require("clip", self.clip is None or self.clip > 0, "be above 0")
        self._require("accumulate", self.accumulate >= 1, "be at least 1")
        self._require("ema", self.ema is None or 0 < self.ema < 1, "lie in (0, 1)")
        self._require("amp", self.amp in ("auto", True, False), "be auto, true or false")
        self._require("selector_share", 0 <= self.selector_share <= 1, "lie in 0 to 1")

    def _require(self, name: str, valid: bool, rule: str) -> None:
        """Refuse the value of a field unless it is valid."""
        if not valid:
            value = shown(getattr(self, name))
            raise InputError(f"{self.section}.{name}: must {rule}, got {value}")


@dataclass(frozen=True)
class SupernetRecipe(Recipe):
    """The recipe of the supernet.

    Args:
        random_archs: Number of random archs of a step, besides the largest and the smallest.
        full_epochs: Number of first epochs that train the full network alone; null for a tenth of
            the epochs if `tokennas` replaced the head of loaded weights, else 0 (in Python, 0).
        distill_share: Weight of distillation from the largest arch in the loss of the others,
            beside the labels; null for that of the task: 1, but 0 for depth.
        least_share: Least share of the full network's MACs for an arch to be trained, such as 0.4
            where no budget is below 50%; null for all archs of the space.
        watch: Number of archs over all MACs to log metrics of, besides largest and smallest.
    """

    section: ClassVar[str] = "supernet"
    free: ClassVar[frozenset[str]] = Recipe.free | {"watch"}

    random_archs: int = 2
    full_epochs: int | None = None
    distill_share: float | None = None
    least_share: float | None = None
    watch: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("random_archs", self.random_archs >= 0, "be at least 0")
        share, least = self.distill_share, self.least_share
        self._require("distill_share", share is None or 0 <= share <= 1, "lie in 0 to 1")
        self._require("least_share", least is None or 0 <= least < 1, "lie in [0, 1)")
        self._require("watch", self.watch >= 0, "be at least 0")
        self._require(
            "full_epochs",
            0 <= (self.full_epochs or 0) < self.epochs,
            f"lie in 0 to {self.epochs - 1}, so that some of the {self.epochs} epochs are left "
            "for the archs",
        )


@dataclass(frozen=True)
class RetrainRecipe(Recipe):
    """The recipe of retraining a subnet."""

    section: ClassVar[str] = "retrain"
