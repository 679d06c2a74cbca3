"""ONNX export for any batch size: `images` (B, C, H, W) to `logits` (B, classes)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from space.utils.errors import InputError
from supernet.export.compare import Answers
from supernet.export.torch_export import ANY_BATCH, program_of
from supernet.models.elastic import ElasticViT

OPSET = 20
MOST_BYTES = 2 << 30


def write(subnet: ElasticViT, about: str) -> bytes:
    """Return the bytes of `model.onnx`; its metadata has the description as `config.json`.

    Raises:
        InputError: The weights are too large for one file.
    """
    size = sum(tensor.numel() * tensor.element_size() for tensor in subnet.state_dict().values())
    if size >= MOST_BYTES:
        raise InputError(f"one file of ONNX holds 2 GB, and the weights take {size / 2**30:.1f}")
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
    # The selected tokens remain named values inside the graph, which `run` turns into outputs.
    del graph.graph.output[1:]
    data: bytes = graph.SerializeToString()
    return data


def run(data: bytes, subnet: ElasticViT) -> Answers:
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
