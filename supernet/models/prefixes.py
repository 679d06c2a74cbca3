"""Evaluation of many archs on the same images, running the blocks that they share once.

A prefix of an arch is its first blocks. Archs share one exactly if their plans begin with the same
steps, so the prefixes of all archs form a tree. The activations after a prefix are cached within a
byte budget. Only for inference: gradients are not supported.
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

# Number of evaluations between two removals of the prefixes that are not cached.
CLEANUP_INTERVAL = 256


class PrefixEvaluator:
    """Runs archs of a supernet, reusing the activations of shared prefixes.

    Outputs equal those of `supernet(images, arch)` bit for bit.

    Args:
        supernet: The supernet in evaluation mode, on its device.
        most_bytes: Byte budget of the cache; None for `default_memory_budget` of the device, which
            is computed anew where the object is unpickled.
    """

    def __init__(self, supernet: Supernet, most_bytes: int | None = None) -> None:
        self.supernet = supernet
        self._most_bytes = most_bytes
        if most_bytes is None:
            most_bytes = default_memory_budget(next(supernet.parameters()).device)
        self.cache = ActivationCache(most_bytes)
        self._prefixes: dict[tuple[Step, ...], Prefix] = {}
        self._expected: list[Prefix] = []

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle without the cache."""
        return PrefixEvaluator, (self.supernet, self._most_bytes)

    def expect(self, archs: Sequence[Arch]) -> list[Arch]:
        """Announce the archs to be evaluated next, so that their shared prefixes stay cached.

        Returns:
            The archs in depth-first order of the prefix tree, which shares most.
        """
        for prefix in self._expected:
            prefix.expected = 0
        # Archs outside the space come last; their evaluation fails.
        paths = {arch: self._path(arch) for arch in archs if arch in self.supernet.space}
        self._expected = [prefix for path in paths.values() for prefix in path]
        for prefix in self._expected:
            prefix.expected += 1
        ranks = {prefix: rank for rank, prefix in enumerate(dict.fromkeys(self._expected))}
        order = {arch: [ranks[each] for each in path] for arch, path in paths.items()}
        return sorted(archs, key=lambda arch: order.get(arch, [len(ranks)]))

    def network(self, arch: Arch) -> Network:
        """Return a function from images (B, C, H, W) to the network's output, for one evaluation.

        The cache is keyed by the image tensors: pass the same objects each time.

        Raises:
            InputError: The arch is not in the space.
        """
        if self.cache.evaluations % CLEANUP_INTERVAL == 0:
            # Prefixes that are neither cached nor expected lose only the count of their uses.
            items = self._prefixes.items()
            self._prefixes = {key: each for key, each in items if each.flows or each.expected}
        path = self._path(arch)
        self.cache.start_evaluation(path)
        return partial(self._output, self.supernet.steps(arch), path)

    def _output(self, steps: tuple[Step, ...], path: list[Prefix], images: Tensor) -> Tensor:
        try:
            return self._run(steps, path, images)
        except torch.OutOfMemoryError:
            if not self.cache.bytes:
                raise
            # The cache took memory that the forward pass needs: shrink it and run again.
            self.cache.shrink()
        return self._run(steps, path, images)

    def _run(self, steps: tuple[Step, ...], path: list[Prefix], images: Tensor) -> Tensor:
        net = self.supernet
        first = max((k for k, each in enumerate(path) if images in each.flows), default=0)
        cached = path[first].flows.get(images)
        flow = Flow(net.embed(images)) if cached is None else cached.flow
        for k in range(first, len(steps)):
            if images not in path[k].flows:
                self.cache.add(path[k], images, flow)
            flow = net.run_step(k, steps[k], flow)
        return net.read_out(flow)

    def _path(self, arch: Arch) -> list[Prefix]:
        """Return the prefixes of an arch, of length 0 to depth - 1."""
        shape = self.supernet.shape
        steps = self.supernet.steps(arch)
        states, blocks = trace(canonical(self.supernet.space, arch), shape)
        macs = [shape.stem.macs, *map(MacCost(shape).block, states, blocks)]
        return [self._prefixes.setdefault(steps[:k], Prefix(macs[k])) for k in range(len(steps))]
