"""Attention sharing (PSViT, arXiv 2108.03428): a block reuses the maps of the block before."""

from __future__ import annotations

from typing import Any

from torch import nn

from supernet.backbones.blocks import keep_values
from supernet.operators.base import Action, Backbone, Flow, Need, TokenOperator


class Sharing(TokenOperator):
    """Passes maps to the next block, which keeps its values, output projection and MLP."""

    name = "share"

    def need(self, action: Action) -> Need | None:
        return "maps"

    def apply(self, net: Backbone, action: Action, flow: Flow, module: nn.Module | None) -> Flow:
        assert flow.exposed.maps is not None
        return flow._replace(maps=flow.exposed.maps)

    def prune(self, block: Any, choice: Any) -> None:
        keep_values(block.attn)
