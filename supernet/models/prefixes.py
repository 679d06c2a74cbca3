"""Evaluation of many archs on the same images, running the blocks that they share once.

A prefix of an arch is its first blocks. Archs share one exactly if their plans begin with the same
steps, so the prefixes of all archs form a tree. The activations after a prefix are cached within a
byte budget. For inference alone: gradients are not supported.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from space.arch import Arch
from space.cost import MacCost
from space.operators.walk import trace
from supernet.models.activation_cache import ActivationCache, Prefix, default_memory_budget
from supernet.models.plan import Step
from supernet.models.supernet import Supernet, canonical
from supernet.operators.base import Flow

Network = Callable[[Tensor], Tensor]

# Evaluations between two removals of prefixes that are not cached.
TIDY = 256


class PrefixEvaluator:
    """Runs archs of a supernet, reusing the activations of shared prefixes.

    Logits equal those of `supernet(images, arch)` bit for bit.

    Args:
        supernet: The supernet in evaluation mode, on its device.
        most_bytes: Byte budget of the cache; by default `default_memory_budget` of the device, in
            whichever process the object is then.
    """

    def __init__(self, supernet: Supernet, most_bytes: int | None = None) -> None:
        self.supernet = supernet
        self._given = most_bytes
        device = next(supernet.parameters()).device
        self.kept = ActivationCache(
            default_memory_budget(device) if most_bytes is None else most_bytes
        )
        self._known: dict[tuple[Step, ...], Prefix] = {}
        self._awaited: list[Prefix] = []

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle without the cache."""
        return PrefixEvaluator, (self.supernet, self._given)

    def expect(self, archs: Sequence[Arch]) -> list[Arch]:
        """Announce the archs to be evaluated next, so that their shared prefixes stay cached.

        Returns:
            The archs in depth-first order of the prefix tree, which shares most.
        """
        for prefix in self._awaited:
            prefix.awaited = 0
        # Archs outside the space come last, and fail when they are evaluated.
        paths = {arch: self._path(arch) for arch in archs if arch in self.supernet.space}
        self._awaited = [prefix for path in paths.values() for prefix in path]
        number: dict[Prefix, int] = {}
        for prefix in self._awaited:
            prefix.awaited += 1
            number.setdefault(prefix, len(number))
        order = {arch: [number[each] for each in path] for arch, path in paths.items()}
        return sorted(archs, key=lambda arch: order.get(arch, [len(number)]))

    def network(self, arch: Arch) -> Network:
        """Return a function from images (B, C, H, W) to logits (B, classes), for one evaluation.

        The cache is keyed by the image tensors: pass the same objects each time.

        Raises:
            InputError: The arch is not in the space.
        """
        if self.kept.ticks % TIDY == 0:
            # Of prefixes that are neither cached nor expected only the past uses are lost.
            known = self._known.items()
            self._known = {key: each for key, each in known if each.flows or each.awaited}
        path = self._path(arch)
        self.kept.start_evaluation(path)
        return partial(self._logits, self.supernet.steps(arch), path)

    def _logits(self, steps: tuple[Step, ...], path: list[Prefix], images: Tensor) -> Tensor:
        try:
            return self._run(steps, path, images)
        except torch.OutOfMemoryError:
            if not self.kept.bytes:
                raise
            # The cache took memory that the forward pass needs: shrink it and run again.
            self.kept.shrink()
        return self._run(steps, path, images)

    def _run(self, steps: tuple[Step, ...], path: list[Prefix], images: Tensor) -> Tensor:
        net = self.supernet
        begun = max((k for k, each in enumerate(path) if images in each.flows), default=None)
        if begun is None:
            begun, flow = 0, Flow(net.embed(images))
            self.kept.add(path[0], images, flow)
        else:
            flow = path[begun].flows[images]
        for k in range(begun, len(steps)):
            flow = net.run_step(k, steps[k], flow)
            if k + 1 < len(steps):
                self.kept.add(path[k + 1], images, flow)
        logits: Tensor = net.forward_head(net.norm(flow.all_tokens()))
        return logits

    def _path(self, arch: Arch) -> list[Prefix]:
        """Return the prefixes of an arch, of length 0 to depth - 1."""
        shape = self.supernet.shape
        steps = self.supernet.steps(arch)
        states, blocks = trace(canonical(self.supernet.space, arch), shape)
        macs = [shape.stem.macs, *map(MacCost(shape).block, states, blocks)]
        return [self._known.setdefault(steps[:k], Prefix(macs[k])) for k in range(len(steps))]
