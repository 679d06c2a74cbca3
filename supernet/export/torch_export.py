"""Export by torch.export for any batch size; the program needs torch, but not tokennas."""

from __future__ import annotations

import io
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram

from supernet.export.compare import Answers, WithChoices
from supernet.models.elastic import ElasticViT

ANY_BATCH = {"x": {0: Dim("batch", min=1)}}


def program_of(subnet: ElasticViT, choices: bool = False) -> ExportedProgram:
    """Export the subnet as a graph over images (B, C, H, W), B at least 1.

    Args:
        subnet: The subnet.
        choices: Whether the graph also outputs the selected tokens, see `WithChoices`.
    """
    images = torch.zeros(2, subnet.in_chans, *subnet.patch_embed.img_size)
    network = WithChoices(subnet) if choices else subnet
    return torch.export.export(network, (images,), dynamic_shapes=ANY_BATCH, strict=False)


def write(subnet: ElasticViT, about: str) -> bytes:
    """Return the bytes of `model.pt2`, with the description as its extra file `config.json`."""
    file = io.BytesIO()
    torch.export.save(program_of(subnet), file, extra_files={"config.json": about})
    return file.getvalue()


def run(data: bytes, subnet: ElasticViT) -> Answers:
    """Run the written program; a second one also outputs the selected tokens."""
    network = torch.export.load(io.BytesIO(data)).module()
    showing = program_of(subnet, choices=True).module() if subnet.runs else None

    def answer(images: Tensor) -> tuple[Tensor, Sequence[Tensor]]:
        logits = network(images)
        return logits, [] if showing is None else showing(images)[1:]

    return answer
