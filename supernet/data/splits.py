"""Splits and transforms of a run, from the `data` section of its config."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from timm.data import resolve_data_config
from timm.models.vision_transformer import VisionTransformer
from torch.utils.data import DataLoader

from space.utils.errors import InputError, check_seed, shown
from supernet.config import DataConfig, InputConfig
from supernet.data.loaders import Images, Indices, ShuffledBatches, make_evaluation_loader
from supernet.data.scenes import draw_scenes
from supernet.data.source import Source
from supernet.data.sources import open_sources
from supernet.tasks.base import Array, Task
from supernet.tasks.registry import DEFAULT_TASK, map_value_keys
from supernet.tasks.transforms import ImageTransform

GREY, RGB = 1, 3


class OtherDataError(InputError):
    """The search split that a run has stored does not fit the data."""


@dataclass(frozen=True)
class Data:
    """The data of a run.

    Args:
        train: Training batches.
        search, test: Loaders of the search and test splits.
        search_indices: Indices of the search split in the training data, to store with the run.
        input: Input size, mean, std, crop and interpolation, as in arch files.
    """

    train: ShuffledBatches
    search: DataLoader[Any]
    test: DataLoader[Any]
    search_indices: Indices
    input: dict[str, Any]


def open_data(
    config: DataConfig,
    backbone: VisionTransformer,
    seed: int,
    search_indices: Sequence[int] | None = None,
    sources: tuple[Source, Source] | None = None,
    *,
    task: Task | None = None,
) -> Data:
    """Open the data with the input size, mean, std, crop and interpolation of a backbone.

    Args:
        config: The `data` section.
        backbone: The backbone, which determines the input.
        seed: Seed of the order, the augmentation and the search split.
        search_indices: The search split stored by a run; None draws a new one.
        sources: Training and test split, if they are open already.
        task: The task that stratifies the search split; by default the labels do.

    Raises:
        InputError: The data is invalid; see `open_sources`.
    """
    check_seed(seed)
    train, test = sources or open_sources(config.dataset)
    _check_targets(config, task, train)
    data_config = resolve_input(config.input, backbone)
    make_transform = ImageTransform if task is None else task.transform
    if task is not None and task.dense:
        # The whole image, whose map then has the same place.
        data_config |= {"crop_pct": 1.0, "crop_mode": "squash"}
        decode, options = task.decode, repr(task.identity())
        train, test = (replace(x, decode=decode, options=options) for x in (train, test))
    targets: Any = train.targets
    strata = targets if task is None else task.strata(targets)
    pool, held_out = split_indices(strata, config, seed, search_indices, train.scenes)
    _check_classes(strata, train_limit=pool, search_share=held_out)
    augmented = make_transform(data_config, config.augment)
    # Random, since folders are sorted by class; the same for every seed, so that runs compare.
    test_indices = np.sort(np.random.default_rng(0x7E5).permutation(len(test))[: config.test_limit])
    # Shuffled: the recall of selectors is measured on the first images only.
    shuffled = np.random.default_rng((seed, 0x5EA)).permutation(held_out)

    def loader(source: Source, indices: Indices) -> DataLoader[Any]:
        images = Images(source, indices, make_transform(data_config, None), seed)
        return make_evaluation_loader(images, config.eval_batch, config.workers)

    preprocessing = {k: list(v) if isinstance(v, tuple) else v for k, v in data_config.items()}
    return Data(
        train=_make_batches(Images(train, pool, augmented, seed), config),
        search=loader(train, shuffled),
        test=loader(test, test_indices),
        search_indices=held_out,
        input={"size": preprocessing.pop("input_size"), **preprocessing},
    )


def _make_batches(images: Images, config: DataConfig) -> ShuffledBatches:
    """Make the training batches; refuse a batch that is larger than the split."""
    batches = ShuffledBatches(images, config.batch, config.workers)
    if not batches.steps:
        count = batches.processes.count
        share = f" for each of {count} processes" if count > 1 else ""
        raise InputError(
            f"data.batch: {config.batch} is more than the {len(images) // count} training images "
            f"left{share}"
        )
    return batches


def _check_targets(config: DataConfig, task: Task | None, source: Source) -> None:
    """Refuse data whose targets are not of the task's kind, and options of another task."""
    wants_maps, own = (False, ()) if task is None else (task.dense, task.data_keys)
    name = DEFAULT_TASK if task is None else task.name
    if source.has_maps != wants_maps:
        kinds = "labels", "maps"
        raise InputError(
            f"data.dataset.name: the targets of {config.dataset.name} are "
            f"{kinds[source.has_maps]}, the task {name} needs {kinds[wants_maps]}; "
            + ("take pairs or nyu" if wants_maps else "set task.name, such as depth")
        )
    for key in map_value_keys():
        value = getattr(config.dataset, key)
        if value is not None and key not in own:
            raise InputError(f"data.dataset.{key}: {shown(value)} is not for the task {name}")
    if wants_maps and config.input.crop_pct is not None:
        raise InputError(
            f"data.input.crop_pct: {config.input.crop_pct:g} is for classification; evaluation on "
            "maps sees the whole image"
        )


def _check_classes(strata: Array, **parts: Indices) -> None:
    """Refuse parts with a single class, of data with several; `parts` are by option."""
    if len(np.unique(strata)) == 1:
        return
    for option, part in parts.items():
        if len(np.unique(strata[part])) == 1:
            raise InputError(
                f"data.{option}: leaves {len(part):,} images of one class alone, on which every "
                "network is right; more are needed"
            )


def resolve_input(config: InputConfig, backbone: VisionTransformer) -> dict[str, Any]:
    """Resolve timm's data config; values of `config` override the backbone's."""
    channels = backbone.in_chans
    if channels not in (GREY, RGB):
        raise InputError(
            f"backbone.args: in_chans is {channels}, images have {RGB} channels, or as grey ones "
            f"{GREY}"
        )
    overrides = {key: value for key, value in asdict(config).items() if value is not None}
    for key in {"mean", "std"} & set(overrides):
        if len(overrides[key]) != channels:
            raise InputError(
                f"data.input.{key}: must have {channels} values, one for each channel, got "
                f"{len(overrides[key])}"
            )
    overrides["input_size"] = (channels, *backbone.patch_embed.img_size)
    data_config = dict(resolve_data_config(overrides, model=backbone, verbose=False))
    if channels == GREY:
        # timm gives three-channel values for one-channel models too.
        data_config |= {
            key: (sum(data_config[key]) / len(data_config[key]),) for key in ("mean", "std")
        }
    return data_config


def split_indices(
    strata: Indices,
    config: DataConfig,
    seed: int,
    stored: Sequence[int] | None,
    scenes: Indices | None = None,
) -> tuple[Indices, Indices]:
    """Return the indices to train on, and those of the search split: a share of each stratum.

    Args:
        strata: Stratum of each image.
        config: The `data` section.
        seed: Seed of the split.
        stored: The search split stored by a run; None draws a new one.
        scenes: Scene of each image, of which each is in one part alone; strata do not count then.

    Raises:
        InputError: The search split is empty, or the stored one is of other data.
    """
    rng = np.random.default_rng((seed, 0xC07))
    limit = config.train_limit or len(strata)
    pool = np.sort(rng.permutation(len(strata))[:limit])
    share = min(config.search_share, config.search_limit / len(pool))
    held_out = [] if stored is None else list(stored)
    if stored is None and scenes is not None:
        held_out = draw_scenes(rng, pool, scenes, share)
        if len(held_out) > config.search_limit:
            raise InputError(
                f"data.search_limit: {config.search_limit} is below the images of every scene; the "
                f"smallest one has {len(held_out)} (data.dataset.scenes), and scenes are held out "
                "as a whole"
            )
    elif stored is None:
        for stratum in np.unique(strata[pool]):
            members = rng.permutation(pool[strata[pool] == stratum])
            held_out += members[: round(share * len(members))].tolist()
    elif not all(0 <= index < len(strata) for index in held_out):
        raise OtherDataError(
            f"the stored search split is of other data: it has images beyond the {len(strata)} "
            "that there are"
        )
    chosen = np.sort(np.asarray(held_out, dtype=np.int64))
    if not len(chosen):
        raise InputError(
            f"data.search_share: {config.search_share} of {len(pool)} training images leaves no "
            "image to rank archs on"
        )
    rest = np.setdiff1d(pool, chosen)
    if scenes is not None and np.isin(scenes[rest], scenes[chosen]).any():
        raise OtherDataError(
            "the stored search split is of other data: it has a part of a scene that is trained on"
        )
    return rest, chosen
