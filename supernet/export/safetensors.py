"""Export of a subnet's weights as safetensors, for `create_subnet` and timm."""

from __future__ import annotations

import copy

from safetensors.torch import load

from supernet.export.compare import Answers
from supernet.models.elastic import ElasticViT
from supernet.weights import tensor_bytes


def write(subnet: ElasticViT, about: str) -> bytes:
    """Return the bytes of `model.safetensors`, with the description in its metadata."""
    return tensor_bytes(subnet.state_dict(), {"config.json": about})


def run(data: bytes, subnet: ElasticViT) -> Answers:
    """Load the written weights into a copy of the subnet."""
    again = copy.deepcopy(subnet)
    again.load_state_dict(load(data))
    return again.forward_with_choices
