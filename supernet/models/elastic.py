"""The elastic model: timm's interface over the forward pass of any arch."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from timm.models._features import feature_take_indices
from timm.models.deit import VisionTransformerDistilled
from torch import Tensor, nn

from space.arch import Arch
from space.shape import BackboneShape
from space.utils.errors import InputError
from supernet.backbones.blocks import shallow_copy
from supernet.backbones.dense_head import LOGITS, DenseHead
from supernet.backbones.vit import measure_head
from supernet.models.forward import ElasticCore, check_no_mask
from supernet.operators.base import Flow
from supernet.operators.registry import token_operators


class ElasticViT(ElasticCore):
    """A timm VisionTransformer that runs archs; a subnet is one with a fixed arch.

    Args are those of `ElasticCore`.
    """

    def __new__(cls, backbone: nn.Module | None = None, *_: Any, **__: Any) -> ElasticViT:
        """Choose the subclass with two heads if the backbone is distilled."""
        if isinstance(backbone, VisionTransformerDistilled):
            cls = DISTILLED.get(cls, cls)  # noqa: PLW0642
        return super().__new__(cls)

    @property
    def output_name(self) -> str:
        """Name of the output in exported files."""
        return self.head.output_name if isinstance(self.head, DenseHead) else LOGITS

    def set_arch(self, shape: BackboneShape, arch: Arch | None) -> None:
        super().set_arch(shape, arch)
        if arch is not None:
            # Not in place: the list is that of the backbone too.
            self.feature_info = self._describe_features()

    def _describe_features(self) -> list[dict[str, Any]]:
        """Return timm's `feature_info`, with the reductions that pooling leads to.

        A reduction is the greater one of both axes, and a float where it is no integer. A 1-D
        pooling leaves no grid, and keeps the reduction of the last one.
        """
        patch = self.patch_embed.feat_ratio(as_scalar=False)
        reduction, info = float(max(patch)), []
        for i, step in enumerate(self.steps()):
            if step.after.grid is not None:
                axes = zip(patch, self.shape.grid, step.after.grid, strict=True)
                reduction = max(side * full / pooled for side, full, pooled in axes)
            value = int(reduction) if reduction.is_integer() else reduction
            info.append({"module": f"blocks.{i}", "num_chs": self.embed_dim, "reduction": value})
        return info

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Map the normed tokens after the last block to logits, as in timm.

        Raises:
            InputError: The head is a dense one, which reads the tokens of several blocks.
        """
        if isinstance(self.head, DenseHead) and not pre_logits:
            raise InputError(
                "forward_head: the head reads the tokens of several blocks; call the network on "
                "images"
            )
        return super().forward_head(x, pre_logits)

    def forward_intermediates(  # noqa: PLR0917 - timm's order
        self,
        x: Tensor,
        indices: int | list[int] | None = None,
        return_prefix_tokens: bool = False,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
        output_dict: bool = False,
        attn_mask: Tensor | None = None,
        is_causal: bool = False,
        arch: Arch | None = None,
    ) -> Any:
        """Run timm's `forward_intermediates`; features have the grid after their block.

        After a 1-D pooling there is no grid: features are NLC, (B, P, D), whatever `output_fmt`
        is. Inside a run, features include the tokens that bypass it.

        Raises:
            InputError: The output format is unknown, or an attention mask is given.
        """
        if output_fmt not in ("NCHW", "NLC"):
            raise InputError(f"output_fmt must be NCHW or NLC, got {output_fmt!r}")
        check_no_mask(attn_mask, is_causal)
        selected, last = feature_take_indices(len(self.blocks), indices)
        steps, count = self.steps(arch), self.num_prefix_tokens
        flow, patches, prefix = Flow(self.embed(x)), [], []
        for i, step in enumerate(steps[: last + 1] if stop_early else steps):
            flow = self.run_step(i, step, flow)
            if i in selected:
                tokens = self.norm(flow.all_tokens()) if norm else flow.all_tokens()
                features = tokens[:, count:]
                if output_fmt == "NCHW" and step.after.grid is not None:
                    features = features.transpose(1, 2).unflatten(2, step.after.grid).contiguous()
                patches.append(features)
                prefix.append(tokens[:, :count])
        last_tokens = None if intermediates_only else self.norm(flow.all_tokens())
        with_prefix = return_prefix_tokens and count > 0
        if output_dict:
            output = {"image_intermediates": patches}
            if with_prefix:
                output["image_intermediates_prefix"] = prefix
            return output if intermediates_only else {**output, "image_features": last_tokens}
        intermediates = list(zip(patches, prefix, strict=True)) if with_prefix else patches
        return intermediates if intermediates_only else (last_tokens, intermediates)

    def no_weight_decay(self) -> set[str]:
        """Return timm's names, and the weights of operators without weight decay."""
        prefixes = tuple(f"{each.modules}." for each in token_operators() if not each.decays)
        names = {name for name, _ in self.named_parameters() if name.startswith(prefixes)}
        return set(super().no_weight_decay()) | names

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Return timm's matcher; the operators before a block belong to the block's layer."""
        matcher: dict[str, Any] = super().group_matcher(coarse)
        operators = (rf"^(?:{'|'.join(self.operator_modules())})\.(\d+)", None)
        return {**matcher, "blocks": [operators, *matcher["blocks"]]}

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replace the head as in timm, and update its costs in `shape`."""
        super().reset_classifier(num_classes, global_pool)
        self.update_head_cost()

    def update_head_cost(self) -> None:
        """Update `shape` after the head was replaced.

        Raises:
            InputError: A dense head reads tokens of the default arch that have no grid.
        """
        self.set_arch(self._shape_with_head(), self.arch)

    def _shape_with_head(self) -> BackboneShape:
        """Return `shape` with the costs of the current head."""
        plain = shallow_copy(self)
        for name in self.operator_modules():
            setattr(plain, name, nn.ModuleDict())
        head, per_token = measure_head(plain)
        return replace(self.shape, head=head, head_per_token=per_token)

    def prune_intermediate_layers(
        self,
        indices: int | list[int] = 1,
        prune_norm: bool = False,
        prune_head: bool = True,
    ) -> list[int]:
        """Prune a subnet as in timm; its arch is shortened and `shape` updated.

        Raises:
            InputError: The model is a supernet, or its head reads a block that would be pruned.
        """
        if self.arch is None:
            raise InputError("only a subnet can be pruned: a supernet's archs need every block")
        last = feature_take_indices(len(self.blocks), indices)[1]
        if isinstance(self.head, DenseHead) and not prune_head and last < len(self.blocks) - 1:
            raise InputError(
                f"prune_intermediate_layers: the head reads the blocks {list(self.head.blocks)}, "
                f"so it cannot stay with blocks 0 to {last} alone; give prune_head=True"
            )
        taken: list[int] = super().prune_intermediate_layers(indices, prune_norm, prune_head)
        depth = len(self.blocks)
        for modules in self.operator_modules().values():
            for key in [key for key in modules if int(key) >= depth]:
                del modules[key]
        arch = Arch(self.arch.blocks[:depth])
        self.set_arch(replace(self._shape_with_head(), depth=depth), arch)
        return taken

    def set_input_size(self, *_: Any, **__: Any) -> None:
        """Refuse another input size, since an arch belongs to one token grid.

        Raises:
            InputError: Always.
        """
        raise InputError("set_input_size: an arch belongs to its grid; resize the backbone first")


class DistilledElasticViT(ElasticViT, VisionTransformerDistilled):
    """An `ElasticViT` over a backbone with a distillation token and two heads."""


DISTILLED: dict[type, type] = {ElasticViT: DistilledElasticViT}
