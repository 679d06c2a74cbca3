"""Optuna's samplers, by their Optuna names and with their arguments, and one of our own."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.samplers import BaseGASampler

from search.problem.problem import Problem
from search.study.evolution_sampler import EvolutionSampler
from space.utils.errors import InputError, near, one_line, shown

# What differs from Optuna's defaults: measured to be better in spaces of this kind (NSGA-II, TPE),
# or needed so that a search that goes on does not repeat its sequence (QMC).
SAMPLERS: dict[str, dict[str, Any]] = {
    "NSGAIISampler": {"population_size": 20},
    "NSGAIIISampler": {"population_size": 20},
    "TPESampler": {"multivariate": True},
    "EvolutionSampler": {},
    "GPSampler": {},
    "RandomSampler": {},
    "QMCSampler": {"scramble": True},
}
DEFAULT = "NSGAIISampler"
OURS = {"EvolutionSampler": EvolutionSampler}
# Proposals in a row that may be in vain: our own has looked at many before it gives one, and each
# of the GP's costs a second.
PATIENCE = {"EvolutionSampler": 2, "GPSampler": 10}
# Proposals that may be asked for before the results of the first are told, at no loss.
AHEAD = {"RandomSampler": 64, "QMCSampler": 64}
# They learn nothing from results, so an initial population would only make them less random.
BLIND = ("RandomSampler", "QMCSampler")
REFUSED = {
    "CmaEsSampler": "it takes no categorical genes and would draw every one at random, silently",
}


@dataclass(frozen=True)
class SamplerChoice:
    """A sampler and its arguments; the seed is the search's.

    Args:
        name: Optuna's class name, or `EvolutionSampler`.
        arguments: keyword arguments of Optuna's class; ours has none.

    Raises:
        InputError: an unknown name or argument, or a value that Optuna refuses.
    """

    name: str = DEFAULT
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            raise InputError(f"sampler: a name must be text, got {shown(self.name)}")
        if self.name in REFUSED:
            raise InputError(f"sampler {self.name}: {REFUSED[self.name]}; use {DEFAULT}")
        if self.name not in SAMPLERS:
            known = ", ".join(SAMPLERS)
            raise InputError(f"sampler must be one of {known}, got {shown(self.name)}{self._hint}")
        names = [] if self.name in OURS else [*inspect.signature(self._optunas).parameters]
        names = [name for name in names if name != "seed"]
        for name in self.arguments:
            if name == "seed":
                raise InputError(
                    f"sampler {self.name}: the seed is the search's: give search.seed (in Python, "
                    "the seed of run_search)"
                )
            if name not in names:
                raise InputError(
                    f"sampler {self.name}: unknown argument {shown(name)}{near(name, names)}"
                )
        try:
            if self.name not in OURS:
                self._make_optunas(0)
        except (TypeError, ValueError) as error:
            raise InputError(f"sampler {self.name}: {one_line(error)}") from None

    @property
    def learns(self) -> bool:
        """Whether what it proposes depends on results."""
        return self.name not in BLIND

    def make(self, problem: Problem, seed: int) -> optuna.samplers.BaseSampler:
        """A new sampler, which remembers nothing."""
        if self.name in OURS:
            return OURS[self.name](problem, seed)
        return self._make_optunas(seed)

    def _make_optunas(self, seed: int) -> optuna.samplers.BaseSampler:
        with warnings.catch_warnings():
            # That an argument is experimental is for us to know, not for whoever runs a search.
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            sampler: optuna.samplers.BaseSampler = self._optunas(
                seed=seed, **{**SAMPLERS[self.name], **self.arguments}
            )
        return sampler

    @property
    def patience(self) -> int:
        """Proposals in a row that may be in vain before an arch is drawn uniformly."""
        return PATIENCE.get(self.name, 100)

    @property
    def ahead(self) -> int:
        """Proposals that need not wait for the results of the first of them."""
        if self.name in OURS or self.name in AHEAD:
            return AHEAD.get(self.name, 1)
        # A genetic sampler breeds a whole generation from the same parents.
        sampler = self._make_optunas(0)
        size = sampler.population_size if isinstance(sampler, BaseGASampler) else None
        return size or 1

    @contextmanager
    def thinking(self) -> Iterator[None]:
        """While it proposes: on several threads the GP's small tensors take ten times longer."""
        if self.name != "GPSampler":
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
    def _optunas(self) -> Any:
        return getattr(optuna.samplers, self.name)

    @property
    def _hint(self) -> str:
        # People write tpe, or nsga2.
        plain = {name.lower().removesuffix("sampler"): name for name in SAMPLERS}
        given = self.name.lower().removesuffix("sampler").replace("-", "").replace("2", "ii")
        hint = f"; did you mean {plain[given]!r}?" if given in plain else ""
        return hint or near(self.name, [*SAMPLERS])


def parse_sampler(value: str | Mapping[str, Any] | SamplerChoice) -> SamplerChoice:
    """A sampler from its name, or from a mapping of `name` and its arguments.

    Raises:
        InputError: see `SamplerChoice`.
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
