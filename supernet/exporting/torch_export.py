"""A program of torch.export, for any batch size: runs where torch is, and nothing of tokennas."""

from __future__ import annotations

import io

import torch
from torch.export import Dim, ExportedProgram

from supernet.elastic import ElasticViT
from supernet.exporting.observing import Answers, observed, runs_of

ANY_BATCH = {"x": {0: Dim("batch", min=1)}}


def program_of(subnet: ElasticViT) -> ExportedProgram:
    """The subnet as a graph over images (B, C, H, W), B at least 1."""
    images = torch.zeros(2, subnet.in_chans, *subnet.patch_embed.img_size)
    return torch.export.export(subnet, (images,), dynamic_shapes=ANY_BATCH, strict=False)


def write(subnet: ElasticViT, about: str) -> bytes:
    """The bytes of `model.pt2`; the description is its extra file `config.json`."""
    file = io.BytesIO()
    torch.export.save(program_of(subnet), file, extra_files={"config.json": about})
    return file.getvalue()


def run(data: bytes, subnet: ElasticViT) -> Answers:
    """The program that was written."""
    network = torch.export.load(io.BytesIO(data)).module()
    return observed(network, runs_of(subnet))
