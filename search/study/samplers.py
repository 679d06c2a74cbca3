"""Optuna's samplers, by name and arguments, and one of our own."""

from __future__ import annotations

import inspect
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import optuna

from search.problem.problem import Problem
from search.study.evolution_sampler import EvolutionSampler
from space.utils.errors import InputError, check_one_of, near, one_line, shown


@dataclass(frozen=True)
class SamplerSpec:
    """The properties of a sampler that the search depends on.

    Args:
        defaults: Arguments that differ from Optuna's defaults.
        own: Class of our own, called with (problem, seed); None for Optuna's class of that name.
        learns: Whether proposals depend on results; only then a search starts from initial archs.
        patience: Rejected proposals in a row before an arch is drawn uniformly.
        ahead: Number of proposals that do not depend on each other's results.
        one_thread: Whether the sampler is faster on one thread of torch.
    """

    defaults: Mapping[str, Any] = field(default_factory=dict)
    own: Callable[[Problem, int], optuna.samplers.BaseSampler] | None = None
    learns: bool = True
    patience: int = 100
    ahead: int = 1
    one_thread: bool = False


DEFAULT = "NSGAIISampler"
SAMPLERS = {
    # Measured to be better in spaces of this kind than Optuna's defaults.
    "NSGAIISampler": SamplerSpec({"population_size": 20}),
    "NSGAIIISampler": SamplerSpec({"population_size": 20}),
    "TPESampler": SamplerSpec({"multivariate": True}),
    # It tries many children per proposal.
    "EvolutionSampler": SamplerSpec(own=EvolutionSampler, patience=2),
    # A proposal takes a second, and ten times as long on several threads: its tensors are small.
    "GPSampler": SamplerSpec(patience=10, one_thread=True),
    "RandomSampler": SamplerSpec(learns=False, ahead=64),
    # Scrambled, so that a resumed search does not repeat its sequence.
    "QMCSampler": SamplerSpec({"scramble": True}, learns=False, ahead=64),
}


@dataclass(frozen=True)
class SamplerChoice:
    """A sampler and its arguments; its seed is the search's.

    Args:
        name: Optuna's class name, or `EvolutionSampler`.
        arguments: Keyword arguments of Optuna's class; `EvolutionSampler` has none.

    Raises:
        InputError: The name or an argument is unknown, or Optuna rejects a value.
    """

    name: str = DEFAULT
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_one_of("sampler", self.name, tuple(SAMPLERS))
        own = self.spec.own is not None
        names = [] if own else [*inspect.signature(self._optuna_class).parameters]
        names = [name for name in names if name != "seed"]
        for name in self.arguments:
            if name == "seed":
                raise InputError(f"sampler {self.name}: it has the search's seed; give search.seed")
            if name not in names:
                hint = near(name, names)
                raise InputError(f"sampler {self.name}: unknown argument {shown(name)}{hint}")
        try:
            if not own:
                self._make_optuna_sampler(0)
        except (TypeError, ValueError) as error:
            raise InputError(f"sampler {self.name}: {one_line(error)}") from None

    @property
    def spec(self) -> SamplerSpec:
        """The sampler's properties."""
        return SAMPLERS[self.name]

    def make(self, problem: Problem, seed: int) -> optuna.samplers.BaseSampler:
        """Create a new sampler."""
        if self.spec.own is not None:
            return self.spec.own(problem, seed)
        return self._make_optuna_sampler(seed)

    def _make_optuna_sampler(self, seed: int) -> optuna.samplers.BaseSampler:
        with silence_optuna():
            sampler: optuna.samplers.BaseSampler = self._optuna_class(seed=seed, **self._arguments)
        return sampler

    @property
    def ahead(self) -> int:
        """Number of proposals that do not depend on each other's results."""
        # A genetic sampler breeds a whole generation from the same parents.
        return int(self._arguments.get("population_size", self.spec.ahead))

    @contextmanager
    def limit_threads(self) -> Iterator[None]:
        """Run the sampler on one thread of torch if that is faster."""
        if not self.spec.one_thread:
            yield
            return
        import torch  # noqa: PLC0415 - the other samplers do without

        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)

    @property
    def _optuna_class(self) -> Any:
        return getattr(optuna.samplers, self.name)

    @property
    def _arguments(self) -> dict[str, Any]:
        return {**self.spec.defaults, **self.arguments}


def parse_sampler(value: str | Mapping[str, Any] | SamplerChoice) -> SamplerChoice:
    """Parse a sampler from its name, or from a mapping of `name` and its arguments.

    Raises:
        InputError: See `SamplerChoice`.
    """
    if isinstance(value, SamplerChoice):
        return value
    if isinstance(value, str):
        return SamplerChoice(value)
    if not isinstance(value, Mapping) or "name" not in value:
        raise InputError(
            f"sampler must be a name, or a mapping of name and arguments, got {shown(value)}"
        )
    return SamplerChoice(value["name"], {key: each for key, each in value.items() if key != "name"})


@contextmanager
def silence_optuna() -> Iterator[None]:
    """Silence Optuna's log and its warnings about experimental features."""
    logger = logging.getLogger("optuna")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        logger.setLevel(level)
