"""The training loop, resumable at any step, or with a user's own loader at the end of an epoch.

Random draws are functions of (seed, step, batch, rank), and those of an image of (seed, epoch,
image), so weights, their average, optimiser state and position suffice: a resumed training ends
with the same weights as an uninterrupted one.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import asdict
from typing import Any

import torch
from timm.utils.model_ema import ModelEmaV3
from torch import Tensor, nn

from space.utils.errors import InputError, check_seed, naming, one_line
from space.utils.signals import ProcessLostError, Stop, defer_signals
from supernet.data.loaders import Batch, ShuffledBatches, UserBatches, seed_all
from supernet.models.elastic import ElasticViT
from supernet.process_group import Processes
from supernet.tasks.base import Task
from supernet.training.checkpoint import save_checkpoint
from supernet.training.log import TrainingLog
from supernet.training.optimizer import (
    clip_gradients,
    make_optimizer,
    make_schedule,
    split_parameters,
)
from supernet.training.recipe import Recipe
from supernet.training.resume import Position, Start, check_same, describe_training, read_position
from supernet.weights import first_not_finite

Step = Callable[[Batch, int, int, float], dict[str, Tensor]]
Evaluate = Callable[[nn.Module], dict[str, float]]


class Trainer:
    """The training of a model by a recipe.

    Args:
        model: The model, on its device.
        train: `open_data(...).train`, or a user's own loader of (images, targets).
        task: The task, which mixes images and labels.
        recipe: The recipe; its `amp` is decided, see `start_training`.
        step: Function of (batch, epoch, step, scale) that runs the backward passes of the losses
            times `scale` and returns the losses; steps are counted over all epochs.
        evaluate: Function from the (averaged) model to its metrics, called after each epoch.
        log: The training log.
        start: Result of `start_training`.
        seed: Seed of every random choice.
    """

    def __init__(
        self,
        model: ElasticViT,
        train: Any,
        *,
        task: Task,
        recipe: Recipe,
        step: Step,
        evaluate: Evaluate,
        log: TrainingLog,
        start: Start,
        seed: int = 0,
    ) -> None:
        check_seed(seed)
        self.model, self.task, self.recipe, self.seed = model, task, recipe, seed
        self.batches = train if isinstance(train, ShuffledBatches) else UserBatches(train)
        self._step, self._evaluate, self.log = step, evaluate, log
        self.processes = Processes.current()
        self.device = next(model.parameters()).device
        self.steps = self.batches.steps // recipe.accumulate
        if self.steps < 1:
            raise InputError(
                f"{recipe.section}.accumulate: must be at most the {self.batches.steps} batches of "
                f"an epoch, got {recipe.accumulate}"
            )
        self.optimizer = make_optimizer(model, recipe)
        self.schedule = make_schedule(self.optimizer, recipe, self.steps)
        self.ema = None if recipe.ema is None else ModelEmaV3(model, recipe.ema, use_warmup=True)
        self.position = Position()
        self._stop, self._all_stop, self._images = Stop(), False, 0
        self._description = describe_training(model, task, recipe, seed, self.steps)
        self._start, self.path = start, start.path
        model.set_grad_checkpointing(recipe.grad_checkpointing)

    @property
    def averaged(self) -> nn.Module:
        """The model to evaluate and keep: the averaged one if the recipe has `ema`."""
        return self.model if self.ema is None else self.ema.module

    @property
    def steps_done(self) -> int:
        """Optimiser steps completed, over all epochs."""
        return self.position.epoch * self.steps + self.position.step

    def fit(self) -> nn.Module:
        """Train to the end of the recipe, resuming from the checkpoint if there is one.

        Ctrl-C and SIGTERM finish the step and save a checkpoint if `batches.exact`.

        Raises:
            KeyboardInterrupt: Training was stopped; the same call resumes.
            InputError: Training diverged: a loss, a gradient or a weight is not finite; the last
                good checkpoint is kept.
        """
        self._restore()
        # Other loaders resume at epoch boundaries only, too long a wait after a signal.
        stopping = defer_signals(self.batches.exact, patient=self.processes.count > 1)
        total = self.recipe.epochs * self.steps
        with self.log.show_progress(total, self.steps_done) as advance, stopping as self._stop:
            while self.position.epoch < self.recipe.epochs:
                try:
                    self._train_epoch(advance)
                except ProcessLostError:
                    # The scheduler may have signalled all processes, and another exited first.
                    self._stop.check()
                    raise
        return self.averaged

    def _train_epoch(self, advance: Callable[[str], None]) -> None:
        position, recipe = self.position, self.recipe
        started = saved = time.monotonic()
        self._images = 0
        self.model.train()
        if not self.batches.exact:
            # A user's own loader draws its order from the global generators. The constant keeps
            # this key apart from those of `_update`.
            seed_all(self.seed, position.epoch, 0xE9)
        # Closing ends the loader's workers, even if a caller keeps the exception's traceback.
        with closing(
            self.batches.epoch(position.epoch, position.step * recipe.accumulate)
        ) as batches:
            while position.step < self.steps:
                scalars = self._update(batches)
                position.add_step(scalars, self.model.learned_modules())
                advance("  ".join(f"{k.removeprefix('loss/')} {x:.3f}" for k, x in scalars.items()))
                if self._all_stop:
                    self._save()
                    # A barrier: launchers kill all processes once one exits; the main one saves.
                    self.processes.broadcast(None)
                    self._stop.interrupt()
                due = time.monotonic() - saved > 60 * recipe.save_minutes
                if due and self.batches.exact and position.step < self.steps:
                    self._save()
                    saved = time.monotonic()
        self._check_weights()
        seconds = time.monotonic() - started
        row = {
            "epoch": position.epoch,
            "lr": max(group["lr"] for group in self.optimizer.param_groups),
        }
        row |= position.means()
        row |= {f"updates/{name}": count for name, count in position.module_updates.items()}
        if self.processes.is_main:
            row |= self._evaluate_epoch()
            speed = self.processes.count * self._images / seconds
            self.log.add(row | {"images_per_second": speed, "seconds": seconds})
        self.position = Position(epoch=position.epoch + 1, module_updates=position.module_updates)
        self._save()

    def _evaluate_epoch(self) -> dict[str, float]:
        """Evaluate the model; a signal interrupts the evaluation."""
        try:
            with self._stop.interruptible():
                metrics = self._evaluate(self.averaged.eval())
        except KeyboardInterrupt:
            self._save()
            raise
        # Finite weights may still give logits that are not finite.
        self._check_finite(metrics)
        return metrics

    def _update(self, batches: Iterator[Batch]) -> dict[str, float]:
        """Run one optimiser step over `accumulate` batches; return losses and gradient norms."""
        step, count = self.steps_done, self.recipe.accumulate
        self.optimizer.zero_grad(set_to_none=True)
        losses: dict[str, list[Tensor]] = {}
        auxiliary_images = torch.zeros(())
        # Rank 0 draws the same random numbers as a training of one process.
        rank = (self.processes.rank,) if self.processes.rank else ()
        for part in range(count):
            batch = next(batches)
            seed_all(self.seed, step, part, *rank)
            images, targets = (x.to(self.device, non_blocking=True) for x in batch[:2])
            self._images += len(images)
            images, targets = self.task.mix(images, targets)
            draws = torch.rand(len(images)) if batch.draws is None else batch.draws
            auxiliary_images += (draws < self.recipe.selector_share).sum()
            batch = Batch(images, targets, draws)
            for name, loss in self._step(batch, self.position.epoch, step, 1 / count).items():
                losses.setdefault(f"loss/{name}", []).append(loss)
        groups = split_parameters(self.model)
        network, *auxiliary_groups = groups.values()
        auxiliary = [parameter for group in auxiliary_groups for parameter in group]
        self._all_stop = self.processes.all_reduce_gradients(
            network, auxiliary, auxiliary_images, self._stop.requested
        )
        scalars = {name: torch.stack(values).mean().item() for name, values in losses.items()}
        scalars |= clip_gradients(groups, self.recipe.clip)
        self._check_finite(scalars)
        self.optimizer.step()
        self.schedule.step_update(step + 1)
        if self.ema is not None:
            self.ema.update(self.model, step=step + 1)
        return scalars

    def _check_finite(self, scalars: Mapping[str, float]) -> None:
        """Refuse losses, gradient norms and metrics that are not finite."""
        for name, value in scalars.items():
            if not math.isfinite(value):
                raise self._make_divergence_error(f"{name} is {value}")

    def _check_weights(self) -> None:
        """Refuse weights that are not finite, before they are evaluated or saved."""
        name = first_not_finite(self.model)
        if name is not None:
            raise self._make_divergence_error(f"{name} is not finite")

    def _make_divergence_error(self, reason: str) -> InputError:
        """Make an error with the step where training diverged, and what to try."""
        recipe, section, position = self.recipe, self.recipe.section, self.position
        step = min(position.step + 1, self.steps)
        clip = "null" if recipe.clip is None else f"{recipe.clip:g}"
        has_checkpoint = self.path is not None and self.path.exists()
        return InputError(
            f"{section}: training diverged in epoch {position.epoch + 1}, step {step} of "
            f"{self.steps}: {reason}; try a lower {section}.lr (it is {recipe.lr:g}), more "
            f"{section}.warmup_epochs ({recipe.warmup_epochs}) or a {section}.clip ({clip})"
            + (f"; the last good state is kept in {self.path}" if has_checkpoint else "")
        )

    def _save(self) -> None:
        if self.path is None or not self.processes.is_main:
            return
        self._check_weights()
        state = {
            **self._description,
            "model": self.model.state_dict(),
            "ema": None if self.ema is None else self.ema.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "position": asdict(self.position),
        }
        save_checkpoint(state, self.path)

    def _restore(self) -> None:
        # The state is as large as the training: it is not kept.
        state, self._start.state = self._start.state, None
        if self._start.notes:
            self.log.print_lines(*self._start.notes, "going on from the checkpoint before")
        if state is not None:
            with naming(str(self.path)):
                self._load(state)
        position = self.position
        if position.epoch < self.recipe.epochs:
            if state is not None:
                self.log.print_lines(
                    f"going on in epoch {position.epoch + 1}, after step {position.step}"
                )
            self.log.print_lines(str(self._start.autocast))
        self.log.drop_rows(position.epoch)
        self.schedule.step_update(self.steps_done)
        # dict.fromkeys, not a set: all processes must broadcast the models in the same order.
        for model in dict.fromkeys((self.model, self.averaged)):
            self.processes.broadcast_parameters(model)

    def _load(self, state: dict[str, Any]) -> None:
        try:
            check_same(state, self._description, self.recipe.free)
            self.model.load_state_dict(state["model"])
            if self.ema is not None:
                self.ema.module.load_state_dict(state["ema"])
            groups = [group.keys() for group in self.optimizer.param_groups]
            self.optimizer.load_state_dict(state["optimizer"])
            if [group.keys() for group in self.optimizer.param_groups] != groups:
                raise ValueError("the optimiser's groups have other keys")
            self.position = read_position(state, self._description)
        except InputError:
            raise
        except Exception as error:  # torch raises many types for states of other models
            raise InputError(
                f"no state of a training: {one_line(error)}; delete it to start anew"
            ) from None
        if state["processes"] != self.processes.count:
            self.log.print_lines(
                f"going on with {self.processes.count} processes instead of {state['processes']}: "
                "the weights will not be those of an uninterrupted training, bit for bit"
            )
