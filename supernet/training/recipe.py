"""How weights are trained. No torch in here: --help does not wait for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from space.utils.errors import InputError, shown

SCHEDULES = ("cosine", "tanh", "step", "multistep", "poly", "wsd", "rsqrt", "constant")


@dataclass(frozen=True)
class Recipe:
    """How weights are trained.

    Args:
        epochs: passes over the training images.
        optimizer: timm's name.
        lr: learning rate.
        weight_decay: not on biases, norms, positions, prefix tokens and pooling kernels.
        layer_decay: factor of the learning rate from block to block, last to first; none for no.
        optimizer_args: more arguments for the optimiser, such as `betas`.
        schedule: timm's name, of those that are stepped at every update.
        warmup_epochs: epochs of linear warm-up.
        min_lr: where the schedule ends.
        clip: greatest norm of the gradient, of the network and of its selectors each; none for no
            clipping, as timm and DeiT do. The log shows the norm: a bound below it acts at every
            step.
        accumulate: batches of one optimiser step.
        ema: decay of the averaged weights, which are then the ones kept; none for no average.
        amp: bfloat16 autocast on GPUs.
        grad_checkpointing: work activations out again in the backward pass, to save memory.
        selector_lr: learning rate of map selectors, in an optimiser group of their own.
        selector_share: share of the images that map selectors learn from.
        save_minutes: checkpoints inside an epoch, so many minutes apart.
    """

    section: ClassVar[str] = "recipe"
    # Values that change how fast results come, or which are shown, but not the results.
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
    """How the supernet is trained.

    Args:
        random_archs: archs of a step beside the largest and the smallest.
        full_epochs: first epochs, in which the full network learns alone; with none the command
            line gives a tenth of the epochs where weights came with another head, else 0; from
            Python none is 0.
        teacher_share: share of the teacher, where there is one, in the full network's loss.
        watch: archs, spread over the MACs, whose accuracy is shown beside largest and smallest.
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
    """How a subnet is retrained.

    Args:
        teacher_share: share of the teacher, where there is one, in the loss.
    """

    section: ClassVar[str] = "retrain"

    teacher_share: float = 0.5
