"""Training recipes. No import of torch, so that --help is fast."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from space.utils.errors import InputError, shown

SCHEDULES = ("cosine", "tanh", "step", "multistep", "poly", "wsd", "rsqrt", "constant")


@dataclass(frozen=True)
class Recipe:
    """A training recipe.

    Args:
        epochs: Passes over the training images.
        optimizer: Name of a timm optimiser.
        lr: Learning rate.
        weight_decay: Not on biases, norms, positions, prefix tokens and pooling kernels.
        layer_decay: Factor of the learning rate from block to block, last to first; none is off.
        optimizer_args: More arguments for the optimiser, such as `betas`.
        schedule: Name of a timm schedule that can be stepped at every update.
        warmup_epochs: Epochs of linear warm-up.
        min_lr: Final learning rate of the schedule.
        clip: Greatest gradient norm, of the network and of its selectors each; none turns clipping
            off, as in timm and DeiT. The log shows the norms.
        accumulate: Batches of one optimiser step.
        ema: Decay of the averaged weights, which are then evaluated and kept; none for no average.
        amp: bfloat16 autocast on GPUs.
        grad_checkpointing: Recompute activations in the backward pass, to save memory.
        selector_lr: Learning rate of map selectors, in an optimiser group of their own.
        selector_share: Share of the images that map selectors learn from.
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
    amp: bool = True
    grad_checkpointing: bool = False
    selector_lr: float = 1e-3
    selector_share: float = 0.25
    save_minutes: float = 5.0

    def __post_init__(self) -> None:
        for name in ("epochs", "accumulate"):
            if getattr(self, name) < 1:
                value = getattr(self, name)
                raise InputError(f"{self.section}.{name}: must be at least 1, got {value}")
        for name in ("lr", "clip"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise InputError(f"{self.section}.{name}: must be above 0, got {value}")
        if self.ema is not None and not 0 < self.ema < 1:
            raise InputError(f"{self.section}.ema: must lie in (0, 1), got {self.ema}")
        if not 0 <= self.selector_share <= 1:
            raise InputError(
                f"{self.section}.selector_share: must lie in 0 to 1, got {self.selector_share}"
            )
        if self.schedule not in SCHEDULES:
            names = ", ".join(SCHEDULES)
            raise InputError(
                f"{self.section}.schedule: must be one of {names}, got {shown(self.schedule)}"
            )


@dataclass(frozen=True)
class SupernetRecipe(Recipe):
    """The recipe of the supernet.

    Args:
        random_archs: Random archs of a step beside the largest and the smallest.
        full_epochs: First epochs, which train the full network alone; none is 0, but from the
            command line a tenth of the epochs where the checkpoint had another head.
        teacher_share: Weight of distillation in the full network's loss, if there is a teacher.
        watch: Archs, spread over the MACs, whose metrics are logged beside largest and smallest.
    """

    section: ClassVar[str] = "supernet"
    free: ClassVar[frozenset[str]] = Recipe.free | {"watch"}

    random_archs: int = 2
    full_epochs: int | None = None
    teacher_share: float = 0.5
    watch: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("random_archs", "watch"):
            value = getattr(self, name)
            if value < 0:
                raise InputError(f"{self.section}.{name}: must be at least 0, got {value}")
        if not 0 <= (self.full_epochs or 0) < self.epochs:
            raise InputError(
                f"supernet.full_epochs: must lie in 0 to {self.epochs - 1}, so that some of the "
                f"{self.epochs} epochs are left for the archs, got {self.full_epochs}"
            )


@dataclass(frozen=True)
class RetrainRecipe(Recipe):
    """The recipe of retraining a subnet.

    Args:
        teacher_share: Weight of distillation in the loss, if there is a teacher.
    """

    section: ClassVar[str] = "retrain"

    teacher_share: float = 0.5
