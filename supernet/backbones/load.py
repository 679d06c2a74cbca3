"""Backbones with weights of timm or of a local checkpoint."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import timm
import torch
from timm.models import load_state_dict
from timm.models.vision_transformer import VisionTransformer, checkpoint_filter_fn
from torch import Tensor

from space.utils.errors import InputError, one_line, shown
from supernet.backbones.dense_head import remove_head
from supernet.backbones.vit import create_backbone
from supernet.config import BackboneConfig
from supernet.weights import read_metadata


class Head(Protocol):
    """The part of `supernet.tasks.base.Task` that concerns the head of a backbone."""

    @property
    def outputs(self) -> int: ...
    @property
    def needs(self) -> str: ...
    def fits(self, backbone: VisionTransformer) -> bool: ...
    def accepts(self, metadata: Mapping[str, str], backbone: VisionTransformer) -> bool: ...
    def reset_head(self, backbone: VisionTransformer, seed: int) -> None: ...


class Loaded(NamedTuple):
    """A backbone, and whether a new head replaced the one of the loaded weights."""

    backbone: VisionTransformer
    head_reset: bool


def load_backbone(config: BackboneConfig, task: Head, seed: int) -> Loaded:
    """Build the backbone, load its weights, and fit its head to the task.

    Raises:
        InputError: The backbone cannot be built, is not supported, or does not fit its checkpoint.
    """
    if config.pretrained and config.checkpoint:
        raise InputError("backbone: give checkpoint or pretrained, not both")
    classes = config.args.get("num_classes", task.outputs)
    if classes != task.outputs:
        reason = "takes the number from the data" if task.outputs else "is the task's own"
        raise InputError(
            f"args of {config.model}: num_classes is {shown(classes)}, {task.needs}; leave it "
            f"out: the head {reason}"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        backbone = create_backbone(config.model, config.args)
        if config.pretrained:
            backbone = _download(config)
    if config.checkpoint:
        load_checkpoint_file(backbone, config.checkpoint, task, seed)
    fits = task.fits(backbone)
    if not fits:
        task.reset_head(backbone, seed)
    return Loaded(backbone, not fits and bool(config.checkpoint or config.pretrained))


def load_checkpoint_file(
    backbone: VisionTransformer, path: str | Path, task: Head | None = None, seed: int = 0
) -> None:
    """Load a timm checkpoint, or one of the same backbone with the head of a task.

    timm's head is resized to the checkpoint's number of classes. With a task, weights of another
    head are left out, and the backbone has none, where the checkpoint has none that fits: by names
    and sizes, and by what weights of a run say of their task.

    Raises:
        InputError: The file cannot be read, its weights do not fit the backbone, or the backbone
            does not fit the task.
    """
    state = _read_checkpoint(path)
    try:
        # timm's filter renames weights, and resizes position and patch embeddings.
        state = checkpoint_filter_fn(dict(state), backbone)
        head = state.get("head.weight")
        fits = (
            task is not None
            and task.accepts(read_metadata(path), backbone)
            and _fit_task_head(backbone, state, task, seed)
        )
        if task is not None and not fits and head is None:
            if task.outputs or any(name.startswith("attn_pool.") for name in state):
                backbone.reset_classifier(0)
            else:  # weights trained with a head that reads the tokens of blocks
                remove_head(backbone)
            state = {name: tensor for name, tensor in state.items() if not is_head(name)}
        elif head is not None and len(head) != backbone.num_classes:
            backbone.reset_classifier(len(head))
        backbone.load_state_dict(state)
    except InputError:
        raise
    except Exception as error:  # timm and torch raise many types for weights of other models
        reason = one_line(error)
        raise InputError(f"{path}: does not fit {type(backbone).__name__}: {reason}") from None


def _fit_task_head(
    backbone: VisionTransformer, state: Mapping[str, Tensor], task: Head, seed: int
) -> bool:
    """Give the backbone a task's own head, if the state has weights of the same names and sizes.

    Returns:
        Whether it has.
    """
    stored = {name: tensor.shape for name, tensor in state.items() if is_head(name)}
    if task.outputs or not stored:
        return False
    with_head = copy.deepcopy(backbone)
    task.reset_head(with_head, seed)
    weights = with_head.state_dict()
    if stored != {name: tensor.shape for name, tensor in weights.items() if is_head(name)}:
        return False
    task.reset_head(backbone, seed)
    return True


def is_head(name: str) -> bool:
    """Return whether a weight is one of the head."""
    return name.startswith("head.")


def _read_checkpoint(path: str | Path) -> Mapping[str, Tensor]:
    try:
        state: Any = load_state_dict(str(path))
    except FileNotFoundError:
        raise InputError(f"backbone.checkpoint: {path} does not exist") from None
    except Exception as error:  # torch raises many types for damaged files
        raise InputError(f"{path}: no checkpoint that can be read: {one_line(error)}") from None
    if not isinstance(state, Mapping) or not all(isinstance(v, Tensor) for v in state.values()):
        raise InputError(f"{path}: holds no state dict of tensors")
    size = Path(path).stat().st_size
    if any(tensor.layout != torch.strided or tensor.nbytes > size for tensor in state.values()):
        # Strides of 0 expand one number to a tensor of any size, and the head is sized by it.
        raise InputError(f"{path}: holds tensors that are sparse, or larger than the file")
    return state


def _download(config: BackboneConfig) -> VisionTransformer:
    # With another num_classes timm silently replaces the head by a random one.
    args = {key: value for key, value in config.args.items() if key != "num_classes"}
    try:
        return timm.create_model(config.model, pretrained=True, **args)  # type: ignore[return-value]
    except Exception as error:  # network, hub and timm raise many types
        raise InputError(
            f"backbone.pretrained: no weights for {config.model} from timm's hub (a local file is "
            f"read by backbone.checkpoint): {one_line(error)}"
        ) from None
