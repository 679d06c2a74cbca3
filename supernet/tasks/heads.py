"""The heads of dense tasks: a linear one as in DINOv2's protocol, and DPT.

B images, D width, (h, w) the token grid, C channels of the output. Both read the features of some
blocks; those of pooled grids are resized to the full grid, so that a head costs the same for every
arch.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from space.utils.errors import InputError
from space.utils.reader import Reader
from supernet.backbones.dense_head import LOGITS, DenseHead, Features
from supernet.tasks.batch_norm import BatchNorm, remove_batch_norm, synchronise

# Of DPT, with 10 x 12 tokens 1.1 GMACs beside the 2.8 of a ViT-S; its own default, 256 to 1,024
# channels, costs 14.1.
DPT_CHANNELS, DPT_FUSION = (48, 96, 192, 384), 64
DPT_STRIDE = 16
DEFAULT_BLOCKS = 4
# Sides of the output in sides of the token grid: of the linear head, of DPT.
UPSAMPLING, DPT_UPSAMPLING = 4, 8


@dataclass(frozen=True)
class HeadOptions:
    """The options of a dense head: the section `task.head` of a config.

    Args:
        name: Name of the head in `HEADS`.
        blocks: The blocks that it reads, up to the last one; None for four, evenly spaced.
        cls: Whether the class token is joined to each patch token, where there is one.
        batch_norm: Whether a linear head begins with batch norm, and DPT's layers have it. A
            supernet's archs share its statistics, and small batches are too few for it.
        channels: Channels of DPT's four levels.
        fusion: Channels of DPT's fused map.
    """

    name: str = "linear"
    blocks: tuple[int, ...] | None = None
    cls: bool = True
    batch_norm: bool = False
    channels: tuple[int, ...] = DPT_CHANNELS
    fusion: int = DPT_FUSION

    @classmethod
    def read(cls, section: Reader) -> HeadOptions:
        """Read the options.

        Raises:
            InputError: A value is invalid, or DPT's package is missing.
        """
        defaults = {"blocks": None, "cls": True, "batch_norm": False}
        dpt = {"channels": DPT_CHANNELS, "fusion": DPT_FUSION}
        keys = section.mapping(name="linear", **defaults, **dpt)
        name = keys["name"].choice(tuple(HEADS))
        for key in dpt:
            if name == "linear" and key in section.entries():
                raise keys[key].error(f"the head {name} has no such option")
        channels = tuple(each.integer(least=1) for each in keys["channels"].items())
        if len(channels) != len(DPT_CHANNELS):
            raise keys["channels"].error(
                f"must be {len(DPT_CHANNELS)} numbers, got {list(channels)}"
            )
        if name == "dpt" and find_spec("segmentation_models_pytorch") is None:
            raise keys["name"].error(
                "dpt needs segmentation_models_pytorch, not installed here: "
                "pip install 'tokennas[dense]'"
            )
        flags = keys["cls"].flag(), keys["batch_norm"].flag()
        fusion = keys["fusion"].integer(least=1)
        return cls(name, _read_blocks(keys["blocks"], name), *flags, channels, fusion)

    def to_dict(self) -> dict[str, Any]:
        """Return the section of these options."""
        values: dict[str, Any] = {"name": self.name, "cls": self.cls}
        values["batch_norm"] = self.batch_norm
        if self.blocks is not None:
            values["blocks"] = list(self.blocks)
        if self.name == "linear":
            return values
        return values | {"channels": list(self.channels), "fusion": self.fusion}

    def resolve(self, backbone: VisionTransformer) -> HeadOptions:
        """Return the options on a backbone: the blocks that are read, and whether `cls` can be.

        Raises:
            InputError: The backbone has too few blocks, or the last one is not read.
        """
        depth = len(backbone.blocks)
        blocks = self.blocks or _spread_blocks(depth)
        if blocks[-1] != depth - 1:
            raise InputError(
                f"task.head.blocks: must end with the last block of the backbone, {depth - 1}, got "
                f"{list(blocks)}; build a shorter backbone by `depth` in backbone.args"
            )
        if self.name == "dpt" and len(blocks) != len(DPT_CHANNELS):
            raise InputError(
                f"task.head: dpt reads {len(DPT_CHANNELS)} blocks, the backbone has {depth}"
            )
        return replace(self, blocks=blocks, cls=self.cls and bool(backbone.has_class_token))

    def make(
        self,
        backbone: VisionTransformer,
        outputs: int,
        activation: nn.Module | None = None,
        output_name: str = LOGITS,
    ) -> TaskHead:
        """Make the head of a backbone.

        Args:
            backbone: The backbone.
            outputs: Channels of the last layer.
            activation: Function of its output; None for the output itself.
            output_name: See `DenseHead`.

        Raises:
            InputError: The backbone has too few blocks, or the last one is not read.
        """
        head = HEADS[self.name](self.resolve(backbone), backbone, outputs)
        head.activation = activation or nn.Identity()
        head.output_name = output_name
        return head


def _read_blocks(reader: Reader, name: str) -> tuple[int, ...] | None:
    """Read the blocks that the head `name` reads; None for the default."""
    if reader.value is None:
        return None
    blocks = reader.distinct(Reader.integer)
    if list(blocks) != sorted(blocks):
        raise reader.error(f"must ascend, got {list(blocks)}")
    if name == "dpt" and len(blocks) != len(DPT_CHANNELS):
        raise reader.error(f"dpt reads {len(DPT_CHANNELS)}, got {len(blocks)}")
    return blocks


def _spread_blocks(depth: int) -> tuple[int, ...]:
    """Return four blocks of a backbone, evenly spaced, or all blocks of a shallow one."""
    count = min(depth, DEFAULT_BLOCKS)
    return tuple((k + 1) * depth // count - 1 for k in range(count))


class TaskHead(DenseHead):
    """A dense head with the options that it was made by.

    Args:
        options: Its options, resolved on the backbone.
        backbone: The backbone.
        outputs: Channels of the last layer.

    Attributes:
        activation: Function of the last layer's output that gives the task's output.
    """

    activation: nn.Module

    def __init__(self, options: HeadOptions, backbone: VisionTransformer, outputs: int) -> None:
        height, width = backbone.patch_embed.grid_size
        assert options.blocks is not None
        super().__init__(options.blocks, (int(height), int(width)))
        self.options = options
        self.outputs = outputs
        self.activation = nn.Identity()

    def forward(self, features: Sequence[Features]) -> Tensor:
        """Map the features of `blocks` to a map (B, C, H, W)."""
        return self.activation(self.decode(features))  # type: ignore[no-any-return]

    @staticmethod
    @abstractmethod
    def map_size(grid: tuple[int, int]) -> tuple[int, int]:
        """Return height and width of the output for the token grid of a backbone."""

    @abstractmethod
    def decode(self, features: Sequence[Features]) -> Tensor:
        """Map the features of `blocks` to the output of the last layer."""


class LinearHead(TaskHead):
    """One linear layer on the tokens of some blocks, as in DINOv2's protocol (arXiv 2304.07193).

    The features of all blocks are concatenated, each with the class token, mapped to the outputs,
    and upsampled 4 times. DINOv2 upsamples the features first, which computes the same for 16 times
    the MACs: interpolation and a linear layer commute. Its tokens have not gone through the
    backbone's last norm, and its batch norm is an option here.
    """

    def __init__(self, options: HeadOptions, backbone: VisionTransformer, outputs: int) -> None:
        super().__init__(options, backbone, outputs)
        width = backbone.embed_dim * len(self.blocks) * (1 + options.cls)
        self.norm = BatchNorm(width) if options.batch_norm else nn.Identity()
        self.linear = nn.Conv2d(width, outputs, kernel_size=1)
        nn.init.normal_(self.linear.weight, std=0.01)
        nn.init.zeros_(self.linear.bias)  # type: ignore[arg-type]

    @staticmethod
    def map_size(grid: tuple[int, int]) -> tuple[int, int]:
        return UPSAMPLING * grid[0], UPSAMPLING * grid[1]

    def decode(self, features: Sequence[Features]) -> Tensor:
        """Map the features to (B, outputs, 4 h, 4 w)."""
        parts = []
        for each in features:
            patches = resize(each.patches, self.grid)
            parts.append(patches)
            if self.options.cls:
                parts.append(each.prefix[:, 0, :, None, None].expand_as(patches))
        x = self.linear(self.norm(torch.cat(parts, dim=1)))
        return resize(x, self.map_size(self.grid))


class DPTHead(TaskHead):
    """DPT (arXiv 2103.13413): decoder and last layers of segmentation_models_pytorch.

    Its levels halve the grid, so an odd side is resized to the next even one.
    """

    def __init__(self, options: HeadOptions, backbone: VisionTransformer, outputs: int) -> None:
        super().__init__(options, backbone, outputs)
        from segmentation_models_pytorch.decoders.dpt.decoder import (  # noqa: PLC0415 - optional
            DPTDecoder,
            DPTSegmentationHead,
        )

        self.decoder = DPTDecoder(
            (backbone.embed_dim,) * len(self.blocks),
            # Relative to the grid; patches of other sizes differ by the final resizing alone.
            (DPT_STRIDE,) * len(self.blocks),
            encoder_has_prefix_tokens=options.cls,
            readout="cat",
            intermediate_channels=options.channels,
            fusion_channels=options.fusion,
        )
        # Without its upsampling and activation.
        self.layers = DPTSegmentationHead(options.fusion, outputs).head
        if options.batch_norm:
            synchronise(self)
        else:
            remove_batch_norm(self)

    @staticmethod
    def map_size(grid: tuple[int, int]) -> tuple[int, int]:
        height, width = _round_to_even(grid)
        return DPT_UPSAMPLING * height, DPT_UPSAMPLING * width

    def decode(self, features: Sequence[Features]) -> Tensor:
        """Map the features to (B, outputs, 8 h, 8 w), with odd sides of the grid rounded up."""
        even = _round_to_even(self.grid)
        patches = [resize(each.patches, even).contiguous() for each in features]
        # It joins the first prefix token alone, the class token.
        prefix = [each.prefix if self.options.cls else None for each in features]
        return self.layers(self.decoder(patches, prefix))  # type: ignore[no-any-return]


def _round_to_even(grid: tuple[int, int]) -> tuple[int, int]:
    return grid[0] + grid[0] % 2, grid[1] + grid[1] % 2


HEADS: dict[str, type[TaskHead]] = {"linear": LinearHead, "dpt": DPTHead}


def resize(x: Tensor, size: tuple[int, ...] | torch.Size) -> Tensor:
    """Resize maps (B, C, h, w) bilinearly to `size`, two sides."""
    if tuple(x.shape[-2:]) == tuple(size):
        return x
    return F.interpolate(x, tuple(size), mode="bilinear", align_corners=False)
