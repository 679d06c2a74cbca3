"""What the stages of a run work with, opened once, when one of them first asks for it."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from search.config import Config
from search.folder import RunFolder
from search.tables import new_console

if TYPE_CHECKING:
    # torch with it, for which commands that only look at a run do not wait.
    from search.latency.table import LatencyTable
    from search.problem import Problem
    from search.stages.setup import Setup
    from space.space import SearchSpace
    from supernet.evaluation import HeldOut


class RunContext:
    """A run: its config, its folder, and what its stages open.

    Args:
        config: The run's config.
        file: The config's file; None where it has none.
        console: Where the stages say what they do; None for the standard output.
    """

    def __init__(self, config: Config, file: Path | None, console: Console | None = None) -> None:
        self.config = config
        self.file = file
        self.folder = RunFolder(config, file)
        self.console = console or new_console()

    @cached_property
    def setup(self) -> Setup:
        """Data, backbone and supernet, whose weights may be those of the backbone alone.

        Raises:
            InputError: what is wrong, where, and what would be right.
        """
        from search.stages.setup import prepare  # noqa: PLC0415 - torch

        return prepare(self.config, self.folder)

    def load_trained(self) -> Setup:
        """The setup with the weights of the trained supernet, which the first call loads.

        Raises:
            InputError: it is not trained yet, or by other values.
        """
        return self._trained

    @cached_property
    def _trained(self) -> Setup:
        from search.stages.setup import check_trained, load_trained  # noqa: PLC0415 - torch

        check_trained(self.folder)
        return load_trained(self.setup, self.folder)

    @cached_property
    def test(self) -> HeldOut:
        """The test split on the device, to judge retrained networks on."""
        from supernet.evaluation import HeldOut  # noqa: PLC0415 - torch

        setup = self.setup
        return HeldOut(setup.data.test, setup.task, setup.device, self.config.retrain.amp)

    @property
    def space(self) -> SearchSpace:
        """The archs of the run."""
        return self.setup.supernet.space

    @property
    def search(self) -> Path:
        """The folder of the config's search."""
        return self.folder.stage("search") / self.config.search.name

    @cached_property
    def tables(self) -> tuple[LatencyTable, ...]:
        """The latency tables that budgets and objectives rest on.

        Raises:
            InputError: there is none, or one is not right, or nobody can say which one is meant.
        """
        from search.stages.tables import latency_tables  # noqa: PLC0415 - scipy

        return latency_tables(self.config, self.folder)

    @cached_property
    def problem(self) -> Problem:
        """Where the search looks, and for what.

        Raises:
            InputError: an objective, a budget or a latency table is not right.
        """
        return self.problem_within(self.config.search.budget)

    def problem_within(self, budget: str | list[str] | None) -> Problem:
        """The search's problem, inside another budget."""
        from search.latency.costs import make_problem  # noqa: PLC0415 - scipy

        objectives, directions = self.config.search.objectives, self.setup.task.directions
        return make_problem(self.space, objectives, budget, directions, self.tables)

    def check_images(self) -> None:
        """Open the image files of all splits, but for those that the run knows to be good.

        It is for the command to call, not for the processes that work for it.

        Raises:
            InputError: images cannot be read: how many, and the first of them.
        """
        self.setup.check_images(self.folder)
