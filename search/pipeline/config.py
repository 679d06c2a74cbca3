"""The config of a run: one typed tree, read from YAML and from the command line."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

from search.study.options import SearchOptions
from search.utils.resources import Workers
from space.utils.errors import InputError
from space.utils.values import check_seed
from supernet.config import BackboneConfig, DataConfig
from supernet.tasks.registry import DEFAULT_TASK, task_metrics
from supernet.training.recipe import RetrainRecipe, SupernetRecipe


@dataclass(frozen=True)
class SupernetConfig(SupernetRecipe):
    """How the supernet is trained.

    Args:
        teacher: a network to distil from, on the same images; none for no teacher.
    """

    teacher: BackboneConfig | None = None


@dataclass(frozen=True)
class SearchConfig(SearchOptions):
    """How the space is searched.

    Args:
        name: of the search; another budget, sampler or objective is a search of its own.
        objectives: metrics of the task (`top1`, `top5`, `cross_entropy`, `kl` of classification)
            and costs (`macs`, `params`, `tokens`, `activation_memory`, and with a latency table
            `latency_ms`), best traded against each other; by default the first metric and `macs`.
        budget: such as `macs=0.8G`, `flops=1.6G`, `params=12M`, `macs=60%` of the full network, or
            with a latency table `latency_ms=3.0`; one or several.
        trials: evaluations, failed ones and those of earlier runs included.
        seed: seed of the search alone, by default the run's; a search with another one needs a name
            of its own.
        sampler: one of Optuna's, by its name, or `EvolutionSampler`.
        sampler_args: its arguments, such as `population_size`.
        reuse: names of other searches of this run, whose evaluations are not made again.
        latency: latency tables of the devices whose `latency_ms` is budgeted or an objective; by
            default those that `tokennas profile` left in the run's folder.
    """

    section: ClassVar[str] = "search."

    name: str = "main"
    objectives: list[str] = field(default_factory=list)
    budget: str | list[str] | None = None
    trials: int = 200
    seed: int | None = None
    sampler: str = "NSGAIISampler"
    sampler_args: dict[str, Any] = field(default_factory=dict)
    reuse: list[str] = field(default_factory=list)
    latency: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.trials < 1:
            raise InputError(f"search.trials: must be at least 1, got {self.trials}")
        if self.seed is not None:
            check_seed(self.seed, "search.seed")
        for name in (self.name, *self.reuse):
            if not name or not name.replace("-", "").replace("_", "").isalnum():
                raise InputError(
                    f"search.name: must be letters, digits, - and _ alone, got {name!r}"
                )


@dataclass(frozen=True)
class ExportConfig:
    """What is exported of the front, beside its arch files.

    Args:
        format: files for each subnet, in a folder of its own with a model card: `safetensors` (what
            timm loads), `torch-export`, `onnx`; and `portfolio`, all of them over one set of
            weights.
    """

    format: list[Literal["safetensors", "torch-export", "onnx", "portfolio"]] = field(
        default_factory=list
    )


@dataclass(frozen=True)
class RetrainConfig(RetrainRecipe):
    """Which subnets are retrained, from what, and how.

    Args:
        budgets: the front's best within each, in per cent of the full network's MACs or as
            `0.8G`; in milliseconds as `latency_ms=3.0` or `latency_ms=60%`.
        full: also the full network, by the same recipe, to compare with.
        baselines: also the hand-made archs of the same budgets, where they get there.
        random: also, within each budget, the best of as many archs drawn at random as the search
            has evaluated: what a search must beat.
        weights: to begin with: of the supernet (`inherited`), none (`scratch`), or the backbone's
            own checkpoint (`backbone`).
        distill: learn from the full network of the supernet too.
        workers: networks that are retrained side by side, through the search's Ray; 0 for one after
            the other, in this process.
        processes: that train each of these networks, data parallel: each has batches and a GPU of
            its own.
        cpus_per_worker: cores of each process.
        gpus_per_worker: GPUs of each process, such as 1 or 0.5; by default an even share of those
            that are there, or 1 where several processes train a network.
    """

    # Who has fewer processes now goes on with fewer; the arch file has their number at the end.
    free: ClassVar[frozenset[str]] = RetrainRecipe.free | {
        *("budgets", "full", "baselines", "random"),
        *("workers", "processes", "cpus_per_worker", "gpus_per_worker"),
    }

    budgets: list[str] = field(default_factory=lambda: ["70%", "50%", "35%"])
    full: bool = True
    baselines: bool = False
    random: bool = False
    weights: Literal["inherited", "scratch", "backbone"] = "inherited"
    distill: bool = True
    workers: int = 0
    processes: int = 1
    cpus_per_worker: float = 1.0
    gpus_per_worker: float | None = None


@dataclass(frozen=True)
class Config:
    """A run: a backbone, data, and the stages that find networks inside a budget.

    Args:
        run: folder of the run; by default runs/ and the config's name.
        seed: of everything random.
        device: `cpu`, `cuda`, `cuda:1`, ...; `auto` takes a GPU where there is one.
        backbone: the Vision Transformer to start from.
        data: data set, augmentation, splits.
        task: what the networks are trained and judged for: its `name`, and its own values;
            without it classification.
        space: what may be chosen at which blocks: `pool`, `share`, `skip`.
        supernet: how the supernet is trained.
        search: how the space is searched.
        export: what is exported of the front.
        retrain: which subnets are retrained, and how.
    """

    run: str | None = None
    seed: int = 0
    device: str = "auto"
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    data: DataConfig = field(default_factory=DataConfig)
    task: dict[str, Any] = field(default_factory=dict)
    space: dict[str, Any] = field(default_factory=dict)
    supernet: SupernetConfig = field(default_factory=SupernetConfig)
    search: SearchConfig = field(default_factory=SearchConfig)
    export: ExportConfig = field(default_factory=ExportConfig)
    retrain: RetrainConfig = field(default_factory=RetrainConfig)

    def __post_init__(self) -> None:
        check_seed(self.seed)
        if not self.search.objectives:
            first = task_metrics(self.task_name)[0].name
            object.__setattr__(self, "search", replace(self.search, objectives=[first, "macs"]))
        if self.retrain.processes < 1:
            raise InputError(f"retrain.processes: must be at least 1, got {self.retrain.processes}")
        if self.retrain.processes > 1 and self.retrain.workers == 0:
            raise InputError(
                f"retrain.processes: {self.retrain.processes} for each network that is retrained "
                "through Ray; set retrain.workers, how many of them at a time, to 1 or more"
            )
        if self.evaluators() == 0 == self.retrainers() and self.search.ray.address is not None:
            raise InputError(
                f"search.ray.address: {self.search.ray.address} given without workers; set "
                "search.workers or retrain.workers"
            )

    @property
    def task_name(self) -> str:
        """The name of the task."""
        return str(self.task.get("name", DEFAULT_TASK))

    @property
    def search_seed(self) -> int:
        """The seed of the search: its own, or else that of the run."""
        return self.seed if self.search.seed is None else self.search.seed

    def evaluators(self) -> Literal[0] | Workers:
        """What evaluates: this process, or workers."""
        return self._workers("search", self.search)

    def retrainers(self) -> Literal[0] | Workers:
        """What retrains: this process, or workers."""
        return self._workers("retrain", self.retrain, self.retrain.processes)

    def _workers(
        self, section: str, wanted: SearchConfig | RetrainConfig, processes: int = 1
    ) -> Literal[0] | Workers:
        if wanted.workers == 0:
            return 0
        kind, colon, _ = self.device.partition(":")
        gpus = wanted.gpus_per_worker
        if kind == "cpu":
            if gpus:
                raise InputError(
                    f"{section}.gpus_per_worker: none with `device: {self.device}`, got {gpus}"
                )
            gpus = 0.0
        elif colon:
            raise InputError(
                f"device: {self.device!r} with {section}.workers, to which Ray gives GPUs; give "
                f"`{kind}`, and set CUDA_VISIBLE_DEVICES where it may not take all"
            )
        cpus = wanted.cpus_per_worker
        return Workers(wanted.workers, cpus, gpus, self.search.ray, section, processes)


@dataclass(frozen=True)
class FileConfig(Config):
    """A config that was read from a file.

    Args:
        file_values: what the file says by itself; options may have said otherwise.
    """

    file_values: dict[str, Any] = field(default_factory=dict)
