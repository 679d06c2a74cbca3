"""An ONNX graph, for any batch size: `images` (B, C, H, W) to `logits` (B, classes)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from space.utils.errors import InputError
from supernet.elastic import ElasticViT
from supernet.exporting.observing import Answer, Answers, last_of_each, runs_of
from supernet.exporting.torch_export import ANY_BATCH, program_of

OPSET = 20
MOST_BYTES = 2 << 30


def write(subnet: ElasticViT, about: str) -> bytes:
    """The bytes of `model.onnx`; the description stands in its metadata as `config.json`.

    Raises:
        InputError: the weights are too many for one file.
    """
    size = sum(tensor.numel() * tensor.element_size() for tensor in subnet.state_dict().values())
    if size >= MOST_BYTES:
        raise InputError(f"one file of ONNX holds 2 GB, and the weights take {size / 2**30:.1f}")
    program = torch.onnx.export(
        program_of(subnet),
        dynamo=True,
        dynamic_shapes=ANY_BATCH,
        opset_version=OPSET,
        input_names=["images"],
        output_names=["logits"],
        verbose=False,
    )
    assert program is not None
    program.model.metadata_props["config.json"] = about
    data: bytes = program.model_proto.SerializeToString()
    return data


def run(data: bytes, subnet: ElasticViT) -> Answers:
    """The graph that was written, in onnxruntime; one more session shows what it chooses."""
    # Extras that nobody waits for who does not export.
    import onnx  # noqa: PLC0415
    from onnxruntime import InferenceSession  # noqa: PLC0415

    def session(model: bytes) -> Any:
        return InferenceSession(model, providers=["CPUExecutionProvider"])

    shown = onnx.load_model_from_string(data)
    found = [node.output[1] for node in shown.graph.node if node.op_type == "TopK"]
    names = last_of_each(found, runs_of(subnet))
    for name in names:
        shown.graph.output.add(name=name).type.tensor_type.elem_type = onnx.TensorProto.INT64
    plain, showing = session(data), session(shown.SerializeToString())

    def answer(images: Tensor) -> Answer:
        given = {"images": images.numpy()}
        (logits,) = plain.run(["logits"], given)
        chosen = showing.run(names, given) if names else []
        return Answer(torch.from_numpy(logits), [torch.from_numpy(each) for each in chosen])

    return answer
