"""The training loop, resumable at any step.

Randomness is a function of (seed, step, sample), so weights, their average, optimiser state and
position suffice: a resumed training ends with the same weights as an uninterrupted one.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

import torch
from timm.utils.model_ema import ModelEmaV3
from torch import Tensor, nn

from space.utils.errors import InputError, one_line
from space.utils.signals import ProcessLostError, Stop, defer_signals
from space.utils.values import check_seed
from supernet.data.loaders import Batch, Batches, seed_all
from supernet.models.elastic import ElasticViT
from supernet.process_group import Processes
from supernet.tasks.base import Task
from supernet.training.checkpoint import Found, load_checkpoint, save_checkpoint
from supernet.training.divergence import DivergedError, diverged, not_finite
from supernet.training.gradients import clip_gradients, count_updates, split_parameters
from supernet.training.log import Journal
from supernet.training.optimizer import make_optimizer, make_schedule
from supernet.training.recipe import Recipe
from supernet.training.resume import SCHEMA, STEPS, Position, check_same, placed
from supernet.weights import first_not_finite

Step = Callable[[Batch, int, float], dict[str, Tensor]]
Judge = Callable[[nn.Module], dict[str, float]]


class Trainer:
    """Trains a model by a recipe.

    Args:
        model: The model, on its device.
        task: The task, which mixes images and labels.
        recipe: The recipe.
        batches: The training batches.
        step: Function of (batch, global step, scale) that runs the backward passes of the losses
            times `scale` and returns the losses.
        judge: Function from the (averaged) model to its metrics, called after each epoch.
        journal: The training log.
        folder: Folder of the checkpoint; None keeps none.
        seed: Seed of every random choice.
    """

    def __init__(
        self,
        model: ElasticViT,
        *,
        task: Task,
        recipe: Recipe,
        batches: Batches,
        step: Step,
        judge: Judge,
        journal: Journal,
        folder: Path | None = None,
        seed: int = 0,
    ) -> None:
        self.model, self.task, self.recipe, self.batches = model, task, recipe, batches
        check_seed(seed)
        self._step, self._judge, self.journal, self.seed = step, judge, journal, seed
        self.processes = Processes.current()
        self.device = next(model.parameters()).device
        self.updates = batches.steps // recipe.accumulate
        if self.updates < 1:
            raise InputError(
                f"accumulate: {recipe.accumulate} batches a step, but an epoch has {batches.steps}"
            )
        self.optimizer = make_optimizer(model, recipe)
        self.schedule = make_schedule(self.optimizer, recipe, self.updates)
        self.ema = None if recipe.ema is None else ModelEmaV3(model, recipe.ema, use_warmup=True)
        self.position = Position()
        self._stop, self._all_stop, self._batch_size = Stop(), False, 0
        self.path = folder and folder / "checkpoint.pt"
        model.set_grad_checkpointing(recipe.grad_checkpointing)

    @property
    def averaged(self) -> nn.Module:
        """The model to evaluate and keep: the averaged one if the recipe has `ema`."""
        return self.model if self.ema is None else self.ema.module

    def fit(self) -> nn.Module:
        """Train to the end of the recipe, resuming from the checkpoint if there is one.

        Ctrl-C and SIGTERM finish the step and save a checkpoint if `batches.exact`.

        Raises:
            KeyboardInterrupt: Training was stopped; the same call resumes.
            DivergedError: Training diverged; the last good checkpoint is kept.
        """
        self._restore()
        total = self.recipe.epochs * self.updates
        done = self.position.epoch * self.updates + self.position.step
        # Other loaders resume at epoch boundaries only, too long a wait after a signal.
        stopping = defer_signals(self.batches.exact, patient=self.processes.count > 1)
        with self.journal.progress(total, done) as tell, stopping as self._stop:
            while self.position.epoch < self.recipe.epochs:
                try:
                    self._epoch(tell)
                except ProcessLostError:
                    # The scheduler may have signalled all processes, and another has left already.
                    self._stop.check()
                    raise
        return self.averaged

    def _epoch(self, tell: Callable[[str], None]) -> None:
        at, recipe = self.position, self.recipe
        began = saved = time.monotonic()
        first = at.step
        self.model.train()
        if not self.batches.exact:
            # A user's own loader draws its order from the global generators.
            seed_all(self.seed, at.epoch, 0xE9)
        # Closing ends the loader's workers, even if a caller keeps the exception's traceback.
        with closing(self.batches.epoch(at.epoch, at.step * recipe.accumulate)) as micro:
            while at.step < self.updates:
                figures = self._update(micro)
                for name, value in figures.items():
                    at.sums[name] = at.sums.get(name, 0.0) + value
                    at.counts[name] = at.counts.get(name, 0) + 1
                at.step += 1
                told = (f"{name.removeprefix('loss/')} {x:.3f}" for name, x in figures.items())
                tell("  ".join(told))
                if self._all_stop or (self._stop.wanted and self.processes.count == 1):
                    self._leave()
                minutes = (time.monotonic() - saved) / 60
                if self.batches.exact and minutes > recipe.save_minutes and at.step < self.updates:
                    self._save()
                    saved = time.monotonic()
        self._finite()
        seconds = time.monotonic() - began
        images = (self.updates - first) * recipe.accumulate * self._batch_size
        row = {"epoch": at.epoch, "lr": max(group["lr"] for group in self.optimizer.param_groups)}
        row |= {name: total / at.counts[name] for name, total in at.sums.items()}
        row |= {f"updates/{name}": count for name, count in at.module_updates.items()}
        if self.processes.is_main:
            row |= self._judged()
            speed = self.processes.count * images / seconds
            self.journal.add(row | {"images_per_second": speed, "seconds": seconds})
        self.position = Position(epoch=at.epoch + 1, module_updates=at.module_updates)
        self._save()

    def _judged(self) -> dict[str, float]:
        """Evaluate the model; a signal interrupts the evaluation."""
        try:
            with self._stop.at_once():
                found = self._judge(self.averaged.eval())
        except KeyboardInterrupt:
            self._save()
            raise
        # Finite weights may still give logits that are not finite.
        if wrong := not_finite(found):
            raise self._diverged(wrong)
        return found

    def _leave(self) -> NoReturn:
        """Save and exit inside an epoch, after a signal to this or another process."""
        self._save()
        # A barrier: launchers kill all processes once one has exited, and the main one still saves.
        self.processes.broadcast(None)
        self._stop.leave()

    def _update(self, micro: Any) -> dict[str, float]:
        """Run one optimiser step over `accumulate` batches; returns losses and gradient norms."""
        done = self.position.epoch * self.updates + self.position.step
        count = self.recipe.accumulate
        self.optimizer.zero_grad(set_to_none=True)
        found: dict[str, list[Tensor]] = {}
        learned = torch.zeros(())
        # Rank 0 draws the same random numbers as a training of one process.
        others = (self.processes.rank,) if self.processes.rank else ()
        for part in range(count):
            batch = next(micro)
            seed_all(self.seed, done, part, *others)
            images, targets = (x.to(self.device, non_blocking=True) for x in batch[:2])
            self._batch_size = len(images)
            images, targets = self.task.mix(images, targets)
            draws = torch.rand(len(images)) if batch.draws is None else batch.draws
            batch = Batch(images, targets, draws)
            learned += (draws < self.recipe.selector_share).sum()
            for name, loss in self._step(batch, done, 1 / count).items():
                found.setdefault(f"loss/{name}", []).append(loss)
        groups = split_parameters(self.model)
        summed = [each for name, group in groups.items() if name for each in group]
        self._all_stop = self.processes.reduce(groups[""], summed, learned, self._stop.wanted)
        figures = {name: torch.stack(losses).mean().item() for name, losses in found.items()}
        norms = {f"{name}_grad_norm".lstrip("_"): group for name, group in groups.items()}
        figures |= clip_gradients(norms, self.recipe.clip)
        if wrong := not_finite(figures):
            raise self._diverged(wrong)
        count_updates(self.model.learned_modules(), self.position.module_updates)
        self.optimizer.step()
        self.schedule.step_update(done + 1)
        if self.ema is not None:
            self.ema.update(self.model, step=done + 1)
        return figures

    def _finite(self) -> None:
        """Refuse weights that are not finite, before they are evaluated or saved.

        Raises:
            DivergedError: A weight is not finite.
        """
        name = first_not_finite(self.model)
        if name is not None:
            raise self._diverged(f"{name} is not finite")

    def _diverged(self, what: str) -> DivergedError:
        return diverged(what, self.recipe, self.position, self.updates, self.path)

    def _save(self) -> None:
        if self.path is None or not self.processes.is_main:
            return
        self._finite()
        state = {
            "schema": SCHEMA,
            "model": self.model.state_dict(),
            "ema": None if self.ema is None else self.ema.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "position": asdict(self.position),
            "recipe": asdict(self.recipe),
            "seed": self.seed,
            "identity": self._identity(),
            "processes": self.processes.count,
            "updates": self.updates,
        }
        save_checkpoint(state, self.path)

    def _restore(self) -> None:
        # Only the main process reads: the file may be missing on other nodes.
        found = Found()
        if self.path is not None and self.processes.is_main:
            found = load_checkpoint(self.path)
        if found.notes:
            self.journal.note(*found.notes, "going on from the checkpoint before")
        state = self.processes.broadcast(found.state)
        if state is not None:
            try:
                self._take(state)
            except InputError:
                raise
            except Exception as error:  # torch raises many types for states of other models
                raise InputError(
                    f"{self.path}: no state of a training: {one_line(error)}; delete it to go anew"
                ) from None
        at = self.position
        if state is not None and at.epoch < self.recipe.epochs:
            self.journal.note(f"going on in epoch {at.epoch + 1}, after step {at.step}")
        self.journal.restore(at.epoch)
        self.schedule.step_update(at.epoch * self.updates + at.step)
        # dict.fromkeys, not a set: all processes must broadcast the models in the same order.
        for model in dict.fromkeys((self.model, self.averaged)):
            self.processes.broadcast_parameters(model)

    def _take(self, state: dict[str, Any]) -> None:
        values = asdict(self.recipe).items()
        recipe = {name: value for name, value in values if name not in self.recipe.free}
        recipe["seed"] = self.seed
        check_same(self.path, state, recipe, self._identity(), self.processes.count)
        self.model.load_state_dict(state["model"])
        if self.ema is not None:
            self.ema.module.load_state_dict(state["ema"])
        groups = [group.keys() for group in self.optimizer.param_groups]
        self.optimizer.load_state_dict(state["optimizer"])
        if [group.keys() for group in self.optimizer.param_groups] != groups:
            raise ValueError("the optimiser's groups have other keys")
        self.position = placed(state, self.recipe.epochs, self.updates, self.processes.count)
        if state["processes"] != self.processes.count:
            self.journal.note(
                f"going on with {self.processes.count} processes instead of {state['processes']}: "
                "the weights will not be those of an uninterrupted training, bit for bit"
            )

    def _identity(self) -> dict[str, str]:
        """Describe model, task and steps of an epoch as JSON texts, to be compared on resume."""
        space = getattr(self.model, "space", None)
        described = {
            "arch": repr(self.model.arch),
            "space": space and space.to_dict(),
            "backbone shape": self.model.shape.to_dict(),
            "task": self.task.identity(),
            STEPS: self.updates,
        }
        return {name: json.dumps(value, default=str) for name, value in described.items()}
