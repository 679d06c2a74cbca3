"""A subnet's weights alone, as safetensors: what `create_subnet` and timm load."""

from __future__ import annotations

import copy

from safetensors.torch import load

from supernet.export.compare import Answers
from supernet.models.elastic import ElasticViT
from supernet.weights import tensor_bytes


def write(subnet: ElasticViT, about: str) -> bytes:
    """The bytes of `model.safetensors`; the description stands in its metadata."""
    return tensor_bytes(subnet.state_dict(), {"config.json": about})


def run(data: bytes, subnet: ElasticViT) -> Answers:
    """The subnet with the weights that were written."""
    again = copy.deepcopy(subnet)
    again.load_state_dict(load(data))
    return again.forward_with_choices
