"""The settings of a search."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from search.problem.problem import Problem
from search.study.options import SearchOptions
from search.study.samplers import SamplerChoice
from space.arch import Arch
from space.utils.errors import InputError, check_seed, is_integer, shown


@dataclass(frozen=True)
class Search:
    """The settings of a search, apart from the evaluation.

    Args:
        problem: Search space, objectives and budget.
        sampler: Sampler and its arguments.
        trials: Number of finished evaluations at which the search ends.
        seed: Seed of every random choice.
        folder: Folder of the results; None to keep them in memory.
        initial: Archs to start from instead of the default ones.
        origin: Plain values that identify how archs are evaluated, such as a hash of the weights;
            stored with the results.
        options: How the search runs.
        driver: PID of the process that runs the search, wherever the study is.

    Raises:
        InputError: A number, an arch or the storage is invalid.
    """

    problem: Problem
    sampler: SamplerChoice = field(default_factory=SamplerChoice)
    trials: int = 200
    seed: int = 0
    folder: Path | None = None
    initial: tuple[Arch, ...] | None = None
    origin: Mapping[str, Any] = field(default_factory=dict)
    options: SearchOptions = field(default_factory=SearchOptions)
    driver: int = field(default_factory=os.getpid)

    def __post_init__(self) -> None:
        if not is_integer(self.trials) or self.trials < 1:
            raise InputError(f"trials must be an integer of at least 1, got {shown(self.trials)}")
        check_seed(self.seed)
        for number, arch in enumerate(self.initial or ()):
            if not isinstance(arch, Arch):
                raise InputError(f"initial[{number}]: must be an Arch, got {shown(arch)}")
        if self.options.storage is not None and self.folder is None:
            raise InputError(
                "storage: a database also needs a folder, for the lock and the search's settings"
            )
