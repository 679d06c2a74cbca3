"""Stage four: retraining of chosen subnets, the full network and controls by one recipe."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from search.pipeline.choose import Choice, check_names, choose, load_choices, stage_path
from search.pipeline.config import Config
from search.pipeline.context import RunContext
from search.pipeline.evaluate import measure_retrained
from search.pipeline.export import load_front, write_arch
from search.pipeline.latencies import tables_by_cost
from search.pipeline.network_folder import (
    ARCH,
    FAILED,
    RETRAIN_SECTIONS,
    SAMPLES,
    STARTED,
    WEIGHTS,
    claim_folder,
    store_failure,
)
from search.pipeline.predictions import write_samples
from search.pipeline.search import find_best_random
from search.problem.evaluation import format_error
from search.problem.paired_error import GroupedMetrics, errors_of_metrics
from search.utils.console import print_line
from search.utils.file_lock import FolderLock
from search.utils.launcher import run_on_all, run_on_main
from space.arch import Arch
from space.utils.atomic import file_errors
from space.utils.errors import InputError
from space.utils.signals import ProcessLostError
from supernet.backbones.load import load_backbone
from supernet.data.sources import open_sources
from supernet.models.elastic import ElasticViT
from supernet.models.subnet import cut_subnet, extract
from supernet.process_group import Processes
from supernet.training.resume import start_training
from supernet.training.retrain import retrain as train_subnet
from supernet.weights import save_weights


@dataclass(frozen=True)
class Retrained:
    """Results of retraining.

    Args:
        title: Title of the table.
        rows: Table rows of the retrained networks.
        failed: Reasons for failures in a line, by name.
    """

    title: str
    rows: list[dict[str, Any]]
    failed: dict[str, str]

    def check(self) -> None:
        """Report failures.

        Raises:
            InputError: Some networks could not be retrained.
        """
        if self.failed:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in self.failed.items())
            raise InputError(
                f"{len(self.failed)} of {len(self.rows) + len(self.failed)} networks could not be "
                f"retrained ({reasons}); the same command tries again"
            )


def retrain(run: RunContext, archs: list[str]) -> Retrained:
    """Retrain the front's best within each budget, or the given arch files.

    Raises:
        InputError: There is no front, no subnet within a budget, or an arch file is invalid.
    """
    run.load_trained()
    try:
        tables = tables_by_cost(run.folder)
    except InputError as error:  # latencies are not worth failing after a long search
        print_line(run.console, f"retrained networks are not timed: {error}")
        tables = {}
    if archs:
        choices = load_choices(archs, run.space)
    else:
        front, report = load_front(run), partial(print_line, run.console)
        random = partial(find_best_random, run, front.evaluations)
        choices = choose(run.config, front, run.space, report, random)
    check_names(choice.name for choice in choices)
    stages = {choice: stage_path(run.config, choice.name) for choice in choices}
    for stage in stages.values():
        run.folder.check(stage, RETRAIN_SECTIONS)
    run.check_images()
    folders = {
        choice: claim_folder(run.folder, stage, choice.arch, run.space, run.console)
        for choice, stage in stages.items()
    }
    todo = {choice: folder for choice, folder in folders.items() if not (folder / ARCH).exists()}
    failed = _retrain_all(run, todo)
    done = {each.name: folder for each, folder in folders.items() if each.name not in failed}
    rows = measure_retrained(run, done, tables)
    images: Any = run.data.test.dataset
    title = f"retrained, on the test split, {len(images):,} images"
    return Retrained(title, rows, failed)


def _retrain_all(run: RunContext, folders: Mapping[Choice, Path]) -> dict[str, str]:
    """Retrain choices, in sequence or on workers; return the reasons for failures by name."""
    workers = run.config.retrain_workers()
    if workers is None or not folders:
        reasons = {each.name: try_retrain(run, each, folder) for each, folder in folders.items()}
    else:
        # Imported here: Ray takes seconds to load.
        from search.distributed.jobs import LongJob, run_jobs  # noqa: PLC0415

        jobs = [
            LongJob(
                choice.name,
                run=partial(try_retrain, run, choice, folder),
                run_rank=partial(retrain_rank, run, choice, folder),
                store_failure=partial(store_failure, folder),
                progress=partial(count_epochs, folder),
                total=run.config.retrain.epochs,
            )
            for choice, folder in folders.items()
        ]
        missing = partial(describe_missing, run.config)
        reasons = run_jobs(jobs, workers, run.console, run.folder.path, missing)
    return {name: reason for name, reason in reasons.items() if reason is not None}


def describe_missing(config: Config) -> str | None:
    """Describe a checkpoint or data set that this node lacks, or return None."""
    checkpoint = config.backbone.checkpoint
    if checkpoint is not None and not Path(checkpoint).exists():
        return f"backbone.checkpoint: {checkpoint} does not exist"
    try:
        open_sources(config.data.dataset)
    except InputError as error:
        return str(error)
    return None


def count_epochs(folder: Path) -> int:
    """Count the finished epochs in the training log of a folder."""
    log = folder / "log.jsonl"
    return log.read_bytes().count(b"\n") if log.exists() else 0


def try_retrain(run: RunContext, choice: Choice, folder: Path) -> str | None:
    """Retrain a choice in this process; return the reason for a failure, or None."""
    try:
        retrain_rank(run, choice, folder)
    except Exception as error:
        # One failure must not end the retraining of the others.
        return format_error(error)
    return None


def retrain_rank(run: RunContext, choice: Choice, folder: Path) -> None:
    """Retrain a choice together with the other processes of torch's process group, if any.

    The reason for a failure is stored in the folder.

    Raises:
        InputError: This process failed, or another one, whose rank the message names.
        KeyboardInterrupt: All processes were asked to stop, and have written a checkpoint.
    """
    processes = Processes.current()
    with run_on_all(lambda: FolderLock(folder) if processes.is_main else nullcontext()):
        run_on_main(lambda: (folder / FAILED).unlink(missing_ok=True))
        try:
            retrain_choice(run, choice, folder)
        except Exception as error:
            # Not stored: an error after another process has died and Ray Train destroyed the group.
            if not isinstance(error, ProcessLostError) and Processes.current() == processes:
                store_failure(folder, format_error(error))
            raise


def retrain_choice(run: RunContext, choice: Choice, folder: Path) -> None:
    """Train a choice, evaluate it on the test split, and write weights and arch file."""
    run_on_all(run.load_trained)
    recipe = run.retrain_recipe(folder)
    is_main, count = Processes.current().is_main, Processes.current().count
    origin: dict[str, Any] = {"choice": choice.name, "weights": recipe.weights}
    if count > 1:
        # The batch is that of all processes together.
        origin["processes"] = count
    initial = _initial_subnet(run, choice.arch)
    start = start_training(recipe.amp, initial, folder)

    def evaluate_inherited() -> dict[str, Any]:
        # In the precision of the training, which may have begun with another `retrain.amp`.
        test = run.test.with_amp(start.autocast.on)
        inherited = test.measure(extract(run.supernet, choice.arch).eval())
        write_arch(run, folder / STARTED, choice.arch, origin=origin)
        return {"inherited": inherited, "test_images": len(test)}

    # The main process alone evaluates and writes.
    metrics = run_on_main(evaluate_inherited)
    subnet = train_subnet(
        initial,
        run.data.train,
        task=run.task,
        recipe=recipe,
        held_out=run.search_batches() if is_main else None,
        teacher=extract(run.supernet, run.space.largest()) if recipe.distill else None,
        folder=folder,
        seed=run.config.seed,
        title=f"retrain {choice.name}",
        quiet=run.console.quiet,
        start=start,
    )

    def save_results() -> None:
        save_weights(subnet, folder / WEIGHTS, run.task.metadata)
        # Written last: this arch file marks the folder as complete.
        statistics = run.test.with_amp(start.autocast.on).statistics(subnet)
        retrained = GroupedMetrics.of(run.task.reduce, statistics)
        errors = errors_of_metrics(retrained)
        write_samples(run, subnet, folder / SAMPLES, start.autocast.on)
        all_metrics = metrics | {"retrained": dict(retrained), "standard_errors": errors}
        write_arch(run, folder / ARCH, choice.arch, metrics=all_metrics, origin=origin)
        with file_errors(folder / STARTED):
            (folder / STARTED).unlink()

    run_on_main(save_results)


def _initial_subnet(run: RunContext, arch: Arch) -> ElasticViT:
    """Make the subnet of an arch with its initial weights."""
    source, backbone = run.config.retrain.weights, run.config.backbone
    if source == "inherited":
        return extract(run.supernet, arch)
    if source == "scratch":
        backbone = replace(backbone, checkpoint=None, pretrained=False)
    loaded = load_backbone(backbone, run.task, run.config.seed).backbone
    return cut_subnet(loaded, run.supernet.shape, arch).to(run.device)
