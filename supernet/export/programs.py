"""Export as a torch.export program, which needs torch but not tokennas, and as an ONNX graph.

Both take any batch size: `images` (B, C, H, W) to `logits` (B, classes).
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram

from supernet.export.compare import Answers, WithChoices
from supernet.models.elastic import ElasticViT

ANY_BATCH = {"x": {0: Dim("batch", min=1)}}
OPSET = 20


def program_of(subnet: ElasticViT, choices: bool = False) -> ExportedProgram:
    """Export the subnet as a graph over images (B, C, H, W), B at least 1.

    Args:
        subnet: The subnet.
        choices: Whether the graph also outputs the selected tokens, see `WithChoices`.
    """
    images = torch.zeros(2, subnet.in_chans, *subnet.patch_embed.img_size)
    network = WithChoices(subnet) if choices else subnet
    return torch.export.export(network, (images,), dynamic_shapes=ANY_BATCH, strict=False)


def write_program(subnet: ElasticViT, about: str) -> bytes:
    """Return the bytes of `model.pt2`, with the description as its extra file `config.json`."""
    file = io.BytesIO()
    torch.export.save(program_of(subnet), file, extra_files={"config.json": about})
    return file.getvalue()


def run_program(data: bytes, subnet: ElasticViT) -> Answers:
    """Run the written program; a second one also outputs the selected tokens."""
    network = torch.export.load(io.BytesIO(data)).module()
    showing = program_of(subnet, choices=True).module() if subnet.runs else None

    def answer(images: Tensor) -> tuple[Tensor, Sequence[Tensor]]:
        logits = network(images)
        return logits, [] if showing is None else showing(images)[1:]

    return answer


def write_onnx(subnet: ElasticViT, about: str) -> bytes:
    """Return the bytes of `model.onnx`; its metadata has the description as `config.json`."""
    program = torch.onnx.export(
        program_of(subnet, choices=True),
        dynamo=True,
        dynamic_shapes=ANY_BATCH,
        opset_version=OPSET,
        input_names=["images"],
        output_names=["logits", *_chosen(subnet)],
        verbose=False,
    )
    assert program is not None
    program.model.metadata_props["config.json"] = about
    graph = program.model_proto
    # The selected tokens remain named values inside the graph, which `run_onnx` turns into outputs.
    del graph.graph.output[1:]
    data: bytes = graph.SerializeToString()
    return data


def run_onnx(data: bytes, subnet: ElasticViT) -> Answers:
    """Run the graph in onnxruntime; a second session also outputs the selected tokens."""
    # Optional packages, imported for an export only.
    import onnx  # noqa: PLC0415
    from onnxruntime import InferenceSession  # noqa: PLC0415

    def session(model: bytes) -> Any:
        return InferenceSession(model, providers=["CPUExecutionProvider"])

    shown, names = onnx.load_model_from_string(data), _chosen(subnet)
    for name in names:
        shown.graph.output.add(name=name).type.tensor_type.elem_type = onnx.TensorProto.INT64
    plain, showing = session(data), session(shown.SerializeToString())

    def answer(images: Tensor) -> tuple[Tensor, Sequence[Tensor]]:
        given = {"images": images.numpy()}
        (logits,) = plain.run(["logits"], given)
        chosen = showing.run(names, given) if names else []
        return torch.from_numpy(logits), [torch.from_numpy(each) for each in chosen]

    return answer


def _chosen(subnet: ElasticViT) -> list[str]:
    """Return the names of the selected tokens of each run."""
    return [f"chosen_{k}" for k in range(subnet.runs)]
