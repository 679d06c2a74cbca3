"""Export as a torch.export program, which needs torch but not tokennas, and as an ONNX graph.

They map `images` (B, C, H, W) to the output, `logits` (B, classes) or the map of a dense head under
its name, for any batch size B or for a fixed one, which some compilers of networks need.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram

from supernet.export.compare import ExportedNetwork, SubnetWithChoices
from supernet.models.elastic import ElasticViT

ANY_BATCH = {"x": {0: Dim("batch", min=1)}}
OPSET = 20


def export_program(
    subnet: ElasticViT, choices: bool = False, batch: int | None = None
) -> ExportedProgram:
    """Export the subnet as a graph over images (B, C, H, W).

    Args:
        subnet: The subnet.
        choices: Whether the graph also outputs the selected tokens, see `SubnetWithChoices`.
        batch: The batch size B; None for any of at least 1.
    """
    images = torch.zeros(batch or 2, subnet.in_chans, *subnet.patch_embed.img_size)
    network = SubnetWithChoices(subnet) if choices else subnet
    shapes = ANY_BATCH if batch is None else None
    return torch.export.export(network, (images,), dynamic_shapes=shapes, strict=False)


def write_program(subnet: ElasticViT, description: str, batch: int | None = None) -> bytes:
    """Return the bytes of `model.pt2`, with the description as its extra file `config.json`."""
    file, program = io.BytesIO(), export_program(subnet, batch=batch)
    torch.export.save(program, file, extra_files={"config.json": description})
    return file.getvalue()


def run_program(data: bytes, subnet: ElasticViT, batch: int | None = None) -> ExportedNetwork:
    """Load the written program for the output.

    It does not output the selected tokens: these come from a second export of the subnet.
    """
    network = torch.export.load(io.BytesIO(data)).module()
    with_choices = export_program(subnet, True, batch).module() if subnet.runs else None

    def run(images: Tensor) -> tuple[Tensor, Sequence[Tensor]]:
        output = network(images)
        return output, [] if with_choices is None else with_choices(images)[1:]

    return run


def write_onnx(subnet: ElasticViT, description: str, batch: int | None = None) -> bytes:
    """Return the bytes of `model.onnx`; its metadata has the description as `config.json`."""
    program = torch.onnx.export(
        export_program(subnet, True, batch),
        dynamo=True,
        dynamic_shapes=ANY_BATCH if batch is None else None,
        opset_version=OPSET,
        input_names=["images"],
        output_names=[subnet.output_name, *_choice_names(subnet)],
        verbose=False,
    )
    assert program is not None
    program.model.metadata_props["config.json"] = description
    graph = program.model_proto
    # The selected tokens remain named values inside the graph, which `run_onnx` turns into outputs.
    del graph.graph.output[1:]
    data: bytes = graph.SerializeToString()
    return data


def run_onnx(data: bytes, subnet: ElasticViT, batch: int | None = None) -> ExportedNetwork:
    """Load the graph into onnxruntime; a second session outputs the selected tokens too."""
    # Optional packages, needed for this format only.
    import onnx  # noqa: PLC0415
    from onnxruntime import InferenceSession  # noqa: PLC0415

    def make_session(model: bytes) -> Any:
        return InferenceSession(model, providers=["CPUExecutionProvider"])

    model, names = onnx.load_model_from_string(data), _choice_names(subnet)
    for name in names:
        model.graph.output.add(name=name).type.tensor_type.elem_type = onnx.TensorProto.INT64
    plain, with_choices = make_session(data), make_session(model.SerializeToString())

    def run(images: Tensor) -> tuple[Tensor, Sequence[Tensor]]:
        inputs = {"images": images.numpy()}
        (output,) = plain.run([subnet.output_name], inputs)
        chosen = with_choices.run(names, inputs) if names else []
        return torch.from_numpy(output), [torch.from_numpy(each) for each in chosen]

    return run


def _choice_names(subnet: ElasticViT) -> list[str]:
    """Return the output name of the selected tokens of each run."""
    return [f"chosen_{k}" for k in range(subnet.runs)]
