"""Predictions of maps: all of a split as files, and a few with their truth for reports.

K samples, (h, w) the token grid of a run of skipping blocks.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from search.pipeline.choose import to_folder_name
from search.pipeline.context import RunContext
from space.utils.atomic import make_folder, replacing
from space.utils.errors import InputError
from supernet.data.loaders import Images
from supernet.data.map_reading import FileMaps
from supernet.data.source import Source
from supernet.models.elastic import ElasticViT
from supernet.precision import at_least_float32, autocast
from supernet.tasks.dense import DenseTask

SAMPLES = 4
BATCH = 16
# Pictures of reports are no larger.
WIDEST = 320


def check_predictions(run: RunContext) -> DenseTask:
    """Return the task, if it predicts maps that can be saved.

    Raises:
        InputError: It does not.
    """
    if not isinstance(run.task, DenseTask):
        raise InputError(f"--save: the task {run.task.name} predicts no maps that could be saved")
    return run.task


def check_save(run: RunContext, save: Path, networks: Iterable[str]) -> None:
    """Refuse a folder for predicted maps that is a file, has some already, or holds the data.

    Args:
        run: The run.
        save: The folder.
        networks: Names of the networks, each of which gets a folder in it.

    Raises:
        InputError: The folder cannot be used.
    """
    existing = next(each for each in (save, *save.parents) if each.exists())
    if not existing.is_dir():
        raise InputError(f"--save: {existing} is a file; give a folder, or a new name")
    sources = run.data.train.images.source, _test_images(run).source
    data = [folder for source in sources for folder in data_folders(source)]
    for folder in (save / to_folder_name(name) for name in networks):
        for each in data:
            if folder.resolve().is_relative_to(each.resolve()):
                raise InputError(
                    f"--save: {folder} is in {each}, a folder of the data set; give another folder"
                )
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise InputError(
                f"--save: {folder} holds files already; move it away, or give another folder"
            )


def data_folders(source: Source) -> list[Path]:
    """Return the folder of a split's images and that of its maps, of data sets in such files."""
    if not isinstance(source.targets, FileMaps):
        return []
    images = [path for path, *_ in source.reader.files or ()]
    return [Path(common_folder(paths)) for paths in (images, source.targets.paths) if paths]


def common_folder(paths: Iterable[str]) -> str:
    """Return the deepest folder that all files are in."""
    return os.path.commonpath([PurePath(path).parent for path in paths])


def save_predictions(run: RunContext, subnet: ElasticViT, folder: Path, amp: bool) -> int:
    """Write the prediction for each test image as PNG, as the data set `pairs` reads maps.

    Args:
        run: The run.
        subnet: A network in evaluation mode.
        folder: Folder of the files, which have the names of the split's own maps.
        amp: Whether to predict under bfloat16 autocast.

    Returns:
        The number of files.

    Raises:
        InputError: The task predicts no maps, or a file cannot be written.
    """
    task, images = check_predictions(run), _test_images(run)
    names = file_names(images)
    for positions in np.array_split(np.arange(len(images)), -(-len(images) // BATCH)):
        pixels, targets = _stack(images, positions)
        with torch.inference_mode(), autocast(run.device, amp):
            output = at_least_float32(subnet(pixels.to(run.device)))
        for k, position in enumerate(positions):
            prediction = task.predict(output[k : k + 1], targets[k].shape[-2:])[0]
            path = folder / f"{names[position]}.png"
            make_folder(path.parent)
            with replacing(path) as file:
                task.to_image(prediction.cpu().numpy()).save(file, "PNG")
    return len(images)


def write_samples(run: RunContext, subnet: ElasticViT, path: Path, amp: bool = False) -> None:
    """Write a few test images with truth, prediction, the task's first metric and selected tokens.

    The file holds `indices`, those of the images in the data of the test split; the lists `image`
    of pictures, `truth` and `prediction` of maps; `scores`, the metric of each image, NaN where it
    has none; `classes`, names if maps are labels; `void`, the value of no target; and for each run
    of skipping blocks, by `first-last` block, the mask of the tokens that go through it, (K, h, w).

    Args:
        run: The run.
        subnet: A network in evaluation mode.
        path: The .npz file.
        amp: Whether to predict under bfloat16 autocast.
    """
    task, images = run.task, _test_images(run)
    if not isinstance(task, DenseTask):
        return
    positions = np.linspace(0, len(images) - 1, min(SAMPLES, len(images))).astype(int)
    pixels, targets = _stack(images, positions)
    with torch.inference_mode(), autocast(run.device, amp):
        output, chosen = subnet.forward_with_choices(pixels.to(run.device))
    output = at_least_float32(output)
    arrays: dict[str, Any] = {
        "indices": images.indices[positions],
        "classes": np.array(task.classes, dtype=np.str_),
        "void": np.array(task.void),
        "scores": np.array([_score(task, output[k : k + 1], x) for k, x in enumerate(targets)]),
    }
    for k, position in enumerate(positions):
        target = targets[k].numpy()
        prediction = task.predict(output[k : k + 1], target.shape)[0].cpu().numpy()
        image, _ = images.source.read(int(images.indices[position]))
        arrays[f"image.{k}"] = _shrink(np.asarray(image))
        for name, each in (("truth", target), ("prediction", prediction)):
            # Pixels of maps have no mean.
            step = -(-target.shape[1] // WIDEST)
            arrays[f"{name}.{k}"] = each[::step, ::step].astype(target.dtype)
    for (first, last, grid), indices in zip(_runs(subnet), chosen, strict=True):
        mask = np.zeros((len(positions), grid[0] * grid[1]), dtype=bool)
        np.put_along_axis(mask, indices.cpu().numpy(), True, axis=1)
        arrays[f"kept.{first}-{last}"] = mask.reshape(len(positions), *grid)
    with replacing(path) as file:
        np.savez_compressed(file, **arrays)


def _score(task: DenseTask, output: Tensor, target: Tensor) -> float:
    """Compute the task's first metric of an image; NaN where no pixel has a target."""
    statistics = task.statistics(output, target[None].to(output.device))
    try:
        metrics = task.reduce({name: each.cpu().numpy() for name, each in statistics.items()})
    except InputError:
        return math.nan
    return metrics[task.metrics[0].name]


def _test_images(run: RunContext) -> Images:
    images: Images = run.data.test.dataset  # type: ignore[assignment]
    return images


def _stack(images: Images, positions: Any) -> tuple[Tensor, list[Tensor]]:
    """Return images (n, C, H, W) and their targets, which may differ in size."""
    samples = [images[-1, int(position)] for position in positions]
    for sample in samples:
        if isinstance(sample, InputError):
            raise sample
    pixels, targets, _ = zip(*samples, strict=True)
    return torch.stack(list(pixels)), list(targets)


def file_names(images: Images) -> list[str]:
    """Return the name of each image's map, without suffix: its path below the folder of all.

    Maps inside a file have names such as `depths_13`.
    """
    targets: Any = images.source.targets
    names = [targets.name(int(index)) for index in images.indices]
    if not isinstance(targets, FileMaps):
        return [to_folder_name(name.rpartition(": ")[2]).strip("_") for name in names]
    folder = common_folder(names)
    return [str(PurePath(name).relative_to(folder).with_suffix("")) for name in names]


def _runs(subnet: ElasticViT) -> Iterator[tuple[int, int, tuple[int, int]]]:
    """Yield first block, last block and token grid of each run of skipping blocks."""
    first = None
    for i, step in enumerate(subnet.steps()):
        if step.after.selected and first is None:
            first = i
        if step.restores and first is not None:
            assert step.after.grid is not None
            yield first, i, step.after.grid
            first = None


def _shrink(picture: Any) -> Any:
    """Reduce a picture (H, W, 3) to the widest size of a report, by whole pixels."""
    step = -(-picture.shape[1] // WIDEST)
    return np.asarray(Image.fromarray(picture).reduce(step)) if step > 1 else picture
