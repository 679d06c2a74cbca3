"""Subnets export to ONNX with any batch size, and run in onnxruntime as in torch."""

import pytest
import torch
from supernet_toys import ARCHS_WITH_ALL, build_supernet, close, images_for

from supernet import extract

pytest.importorskip("onnxscript")
onnxruntime = pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("name", "place"), [("class token", 0), ("average pooling", 1), ("registers", 2)]
)
def test_an_onnx_file_gives_the_same_logits(tmp_path, name, place):
    net = build_supernet(name, torch.float32).requires_grad_(False)
    subnet = extract(net, ARCHS_WITH_ALL[place])
    images = images_for(subnet, 3, dtype=torch.float32)
    program = torch.onnx.export(
        subnet,
        (images,),
        dynamo=True,
        opset_version=20,
        dynamic_shapes={"x": {0: torch.export.Dim("batch", min=1, max=64)}},
        verbose=False,
    )
    program.save(tmp_path / "subnet.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "subnet.onnx")
    for count in (1, 3, 7):
        images = images_for(subnet, count, dtype=torch.float32)
        (logits,) = session.run(None, {"x": images.numpy()})
        close(torch.from_numpy(logits), subnet(images), 1e-4)
