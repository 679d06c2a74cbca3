"""The config of a run: one typed tree, read from YAML and from the command line."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

from search.study.options import SearchOptions
from search.utils.resources import Workers
from space.utils.errors import InputError, check_name, check_seed, naming
from supernet.config import BackboneConfig, DataConfig
from supernet.tasks.registry import DEFAULT_TASK, task_entry
from supernet.training.recipe import RetrainRecipe, SupernetRecipe


@dataclass(frozen=True)
class SupernetConfig(SupernetRecipe):
    """Recipe of the supernet's training.

    Args:
        teacher: Network to distil from, on the same images; null for none.
    """

    teacher: BackboneConfig | None = None


@dataclass(frozen=True)
class SearchConfig(SearchOptions):
    """Options of the search.

    Args:
        name: Name of the search; another budget, sampler or objective needs another name.
        objectives: Metrics of the task (`top1`, `top5`, `cross_entropy`, `kl` of classification;
            `rmse`, `abs_rel`, `delta1`, `silog` of depth; `miou`, `pixel_accuracy`,
            `cross_entropy` of segmentation) and costs (`macs`, `backbone_macs` without the
            head, `params`, `tokens`, `activation_memory`, and with a latency table `latency_ms`)
            to optimise together; by default the first metric and `macs`.
        budget: Limits such as `macs=0.8G`, `flops=1.6G`, `params=12M`, `macs=60%` of the full
            network, or with a latency table `latency_ms=3.0`; one or several. A range such as
            `macs=45%..85%` excludes cheaper archs too.
        trials: Number of evaluations, failed ones and those of earlier runs included.
        seed: Seed of the search alone, by default the run's; another seed needs another name.
        sampler: Name of an Optuna sampler, or `EvolutionSampler`.
        sampler_args: Arguments of the sampler, such as `population_size`.
        reuse: Names of other searches of this run, whose evaluations are reused.
        latency: Latency tables of the devices whose `latency_ms` is a budget or an objective; by
            default those that `tokennas profile` wrote into the run's folder.
    """

    prefix: ClassVar[str] = "search."

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
        with naming("search.name"):
            check_name(self.name)


@dataclass(frozen=True)
class ExportConfig:
    """Formats of the export, besides arch files.

    Args:
        format: Files for each subnet, in its own folder with a model card: `safetensors` (which
            timm loads), `torch-export`, `onnx`; and `portfolio`, all subnets over one set of
            weights. Several as `[onnx, safetensors]`.
        batch: Fixed batch size of exported programs; null for any.
    """

    format: list[Literal["safetensors", "torch-export", "onnx", "portfolio"]] = field(
        default_factory=list
    )
    batch: int | None = None

    def __post_init__(self) -> None:
        if self.batch is not None and self.batch < 1:
            raise InputError(f"export.batch: must be at least 1, got {self.batch}")


@dataclass(frozen=True)
class RetrainConfig(RetrainRecipe):
    """Subnets to retrain, and their recipe.

    Args:
        budgets: Budgets within which to retrain the front's best: MACs as a percentage of the full
            network's or as `0.8G`, without head as `backbone_macs=70%`; milliseconds as
            `latency_ms=3.0` or `latency_ms=60%`; and any other cost that the search has a budget
            or an objective of.
        full: Whether to retrain the full network too, by the same recipe, for comparison.
        baselines: Whether to retrain the hand-made archs of the same budgets too, where they exist.
        random: Whether to retrain, for each budget, the best random arch too, of as many as the
            search has evaluated: the control that a search must beat.
        weights: Initial weights: the supernet's (`inherited`), random ones (`scratch`), or the
            backbone's checkpoint (`backbone`).
        distill: Whether to distil from the full network of the supernet too.
        workers: Number of networks retrained in parallel, through the search's Ray; 0 for one after
            the other, in this process.
        processes: Number of processes for each of these networks, data parallel, each with its own
            batches and GPU.
        cpus_per_worker: Cores of each process.
        gpus_per_worker: GPUs of each process, such as 1 or 0.5; by default an even share of the
            available ones, or 1 where several processes train a network.
    """

    # Retraining may resume with fewer processes; the arch file stores their final number.
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
        run: Folder of the run; by default runs/ and the config's name.
        seed: Seed of every random choice.
        device: Name such as `cpu`, `cuda` or `cuda:1`; `auto` for a GPU where there is one.
        backbone: The Vision Transformer to start from.
        data: Data set, augmentation and splits.
        task: The task, as its `name` and options; classification by default.
        space: The choices of each operator, and their blocks: `pool`, `share`, `skip`; and `rules`,
            which all archs must keep: `keep_grid`, `keep_2d`.
        supernet: Recipe of the supernet's training.
        search: Options of the search.
        export: Formats of the export.
        retrain: Subnets to retrain, and their recipe.
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
            first = task_entry(self.task_name).metrics[0].name
            object.__setattr__(self, "search", replace(self.search, objectives=[first, "macs"]))
        if self.retrain.processes < 1:
            raise InputError(f"retrain.processes: must be at least 1, got {self.retrain.processes}")
        if self.retrain.processes > 1 and self.retrain.workers == 0:
            raise InputError(
                f"retrain.processes: {self.retrain.processes} for each network need Ray; set "
                "retrain.workers, the number of networks at a time, to 1 or more"
            )
        # Not in `SearchConfig`, which a run gives to `run_search` with the folders instead.
        for name in self.search.reuse:
            with naming("search.reuse"):
                check_name(name)
        if not (self.search_workers() or self.retrain_workers()) and self.search.ray.address:
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
        """The seed of the search, by default that of the run."""
        return self.seed if self.search.seed is None else self.search.seed

    def search_workers(self) -> Workers | None:
        """Return the workers that evaluate; None if this process does."""
        return self._workers("search", self.search)

    def retrain_workers(self) -> Workers | None:
        """Return the workers that retrain; None if this process does."""
        return self._workers("retrain", self.retrain, self.retrain.processes)

    def _workers(
        self, section: str, config: SearchConfig | RetrainConfig, processes: int = 1
    ) -> Workers | None:
        if config.workers == 0:
            return None
        kind, colon, _ = self.device.partition(":")
        gpus = config.gpus_per_worker
        if kind == "cpu":
            if gpus:
                raise InputError(
                    f"{section}.gpus_per_worker: must be 0 with `device: {self.device}`, got {gpus}"
                )
            gpus = 0.0
        elif colon:
            raise InputError(
                f"device: {self.device!r} with {section}.workers, to which Ray assigns GPUs; give "
                f"`{kind}`, and limit the GPUs by CUDA_VISIBLE_DEVICES"
            )
        cpus = config.cpus_per_worker
        return Workers(config.workers, cpus, gpus, self.search.ray, f"{section}.", processes)


@dataclass(frozen=True)
class FileConfig(Config):
    """A config that was read from a file.

    Args:
        file_values: Values of the file, without the options of the command line.
    """

    file_values: dict[str, Any] = field(default_factory=dict)
