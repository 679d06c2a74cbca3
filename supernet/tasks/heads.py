"""The heads of dense tasks: DINOv2's linear protocol, and DPT.

B images, D width, (h, w) the token grid, C outputs. Both read the features of some blocks; those of
pooled grids are resized to the full grid, so that a head costs the same for every arch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from space.utils.errors import InputError
from space.utils.reader import Reader
from supernet.backbones.dense_head import DenseHead, Features
from supernet.tasks.batch_norm import BatchNorm, synchronise

# Of DPT, at the grid of a ViT-S about a sixth of the backbone's MACs; its own default, 256 to 1,024
# channels, costs more than the whole ViT-S.
DPT_CHANNELS, DPT_FUSION = (48, 96, 192, 384), 64
DPT_STRIDE = 16
UPSAMPLING = 4


@dataclass(frozen=True)
class HeadOptions:
    """The options of a dense head: the section `task.head` of a config.

    Args:
        name: Name of the head in `HEADS`.
        blocks: The blocks that it reads, up to the last one; None for four, evenly spaced.
        cls: Whether the class token is joined to each patch token, where there is one.
        batch_norm: Whether a linear head begins with batch norm.
        channels: Channels of DPT's four levels.
        fusion: Channels of DPT's fused map.
    """

    name: str = "linear"
    blocks: tuple[int, ...] | None = None
    cls: bool = True
    batch_norm: bool = True
    channels: tuple[int, ...] = DPT_CHANNELS
    fusion: int = DPT_FUSION

    @classmethod
    def read(cls, section: Reader) -> HeadOptions:
        """Read the options.

        Raises:
            InputError: A value is invalid, or DPT's package is missing.
        """
        defaults = {"blocks": None, "cls": True, "batch_norm": True}
        dpt = {"channels": DPT_CHANNELS, "fusion": DPT_FUSION}
        keys = section.mapping(name="linear", **defaults, **dpt)
        name = keys["name"].choice(tuple(HEADS))
        unused = dpt if name == "linear" else {"batch_norm": True}
        for key in unused:
            if key in section.entries():
                raise keys[key].error(f"the head {name} has no such option")
        blocks = None
        if keys["blocks"].value is not None:
            blocks = keys["blocks"].distinct(Reader.integer)
            if list(blocks) != sorted(blocks):
                raise keys["blocks"].error(f"must ascend, got {list(blocks)}")
            if name == "dpt" and len(blocks) != len(DPT_CHANNELS):
                raise keys["blocks"].error(f"dpt reads {len(DPT_CHANNELS)}, got {len(blocks)}")
        channels = tuple(each.integer(least=1) for each in keys["channels"].items())
        if len(channels) != len(DPT_CHANNELS):
            raise keys["channels"].error(f"must be {len(DPT_CHANNELS)} numbers")
        if name == "dpt" and find_spec("segmentation_models_pytorch") is None:
            raise keys["name"].error(
                "dpt needs segmentation_models_pytorch, not installed here: "
                "pip install 'tokennas[dense]'"
            )
        flags = keys["cls"].flag(), keys["batch_norm"].flag()
        return cls(name, blocks, *flags, channels, keys["fusion"].integer(least=1))

    def to_dict(self) -> dict[str, Any]:
        """Return the section of these options."""
        values: dict[str, Any] = {"name": self.name, "cls": self.cls}
        if self.blocks is not None:
            values["blocks"] = list(self.blocks)
        if self.name == "linear":
            return values | {"batch_norm": self.batch_norm}
        return values | {"channels": list(self.channels), "fusion": self.fusion}

    def make(self, backbone: VisionTransformer, outputs: int) -> TaskHead:
        """Make the head of a backbone.

        Raises:
            InputError: The backbone has not the blocks, or the last block is not read.
        """
        depth, count = len(backbone.blocks), len(DPT_CHANNELS)
        blocks = self.blocks or tuple(
            dict.fromkeys(
                (k + 1) * depth // count - 1 for k in range(count) if (k + 1) * depth >= count
            )
        )
        if blocks[-1] != depth - 1:
            raise InputError(
                f"task.head.blocks: must end with the last block of the backbone, {depth - 1}, got "
                f"{list(blocks)}; build a shorter backbone by `depth` in backbone.args"
            )
        return HEADS[self.name](self, backbone, blocks, outputs)


class TaskHead(DenseHead):
    """A dense head with its options.

    Args:
        options: Its options.
        backbone: The backbone.
        blocks: The blocks that it reads.
        outputs: Channels C of the output.
    """

    def __init__(
        self,
        options: HeadOptions,
        backbone: VisionTransformer,
        blocks: Sequence[int],
        outputs: int,
    ) -> None:
        height, width = backbone.patch_embed.grid_size
        super().__init__(blocks, (int(height), int(width)))
        self.options = options
        self.outputs = outputs
        self.joins_class = options.cls and bool(backbone.has_class_token)


class LinearHead(TaskHead):
    """DINOv2's linear protocol (arXiv 2304.07193): batch norm and one linear layer.

    The features of all blocks are concatenated, each with the class token, mapped to the outputs,
    and upsampled 4 times. DINOv2 upsamples the features first, which computes the same for 16 times
    the MACs: interpolation and a linear layer commute.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        width = args[1].embed_dim * len(self.blocks) * (1 + self.joins_class)
        self.norm = BatchNorm(width) if self.options.batch_norm else nn.Identity()
        self.linear = nn.Conv2d(width, self.outputs, kernel_size=1)
        nn.init.normal_(self.linear.weight, std=0.01)
        nn.init.zeros_(self.linear.bias)  # type: ignore[arg-type]

    def forward(self, features: Sequence[Features]) -> Tensor:
        """Map the features to (B, C, 4 h, 4 w)."""
        parts = []
        for each in features:
            patches = resize(each.patches, self.grid)
            parts.append(patches)
            if self.joins_class:
                parts.append(each.prefix[:, 0, :, None, None].expand_as(patches))
        x = self.linear(self.norm(torch.cat(parts, dim=1)))
        return resize(x, (UPSAMPLING * self.grid[0], UPSAMPLING * self.grid[1]))


class DPTHead(TaskHead):
    """DPT (arXiv 2103.13413): decoder and head of segmentation_models_pytorch.

    Its levels halve the grid, so an odd side is resized to the next even one.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        from segmentation_models_pytorch.decoders.dpt.decoder import (  # noqa: PLC0415 - optional
            DPTDecoder,
            DPTSegmentationHead,
        )

        options, count = self.options, len(self.blocks)
        self.decoder = DPTDecoder(
            (args[1].embed_dim,) * count,
            # Relative to the grid; patches of other sizes differ by the final resizing alone.
            (DPT_STRIDE,) * count,
            encoder_has_prefix_tokens=self.joins_class,
            readout="cat",
            intermediate_channels=options.channels,
            fusion_channels=options.fusion,
        )
        self.predict = DPTSegmentationHead(options.fusion, self.outputs, upsampling=1.0)
        synchronise(self)

    def forward(self, features: Sequence[Features]) -> Tensor:
        """Map the features to (B, C, 8 h, 8 w), with odd sides of the grid rounded up."""
        even = tuple(side + side % 2 for side in self.grid)
        patches = [resize(each.patches, even).contiguous() for each in features]
        prefix = [each.prefix if self.joins_class else None for each in features]
        return self.predict.head(self.decoder(patches, prefix))  # type: ignore[no-any-return]


HEADS: dict[str, Callable[..., TaskHead]] = {"linear": LinearHead, "dpt": DPTHead}


def resize(x: Tensor, size: tuple[int, ...] | torch.Size) -> Tensor:
    """Resize maps (B, C, h, w) bilinearly to `size`, two sides."""
    if tuple(x.shape[-2:]) == tuple(size):
        return x
    return F.interpolate(x, tuple(size), mode="bilinear", align_corners=False)
