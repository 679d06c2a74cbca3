"""Small weights of timm models: as files, and as downloads of them."""

import timm
import torch
from safetensors.torch import save_file

from supernet.backbones.load import BackboneConfig, load_backbone

ARGS = {"img_size": 32, "patch_size": 8, "embed_dim": 16, "depth": 2, "num_heads": 2}
MODEL = "vit_tiny_patch16_224"


def checkpoint(path, classes=5, **args):
    torch.manual_seed(1)
    model = timm.create_model(MODEL, **{**ARGS, **args}, num_classes=classes)
    if path.suffix == ".safetensors":
        save_file(model.state_dict(), path)
    else:
        torch.save({"state_dict": model.state_dict()}, path)
    return model


def download(monkeypatch, path, task, overlay=(), **args):
    """Load a backbone whose download is the file at `path`."""
    create = timm.create_model

    def from_file(name, pretrained=False, **args):
        if pretrained:
            args["pretrained_cfg_overlay"] = {"file": str(path), **dict(overlay)}
        return create(name, pretrained=pretrained, **args)

    with monkeypatch.context() as patch:
        patch.setattr(timm, "create_model", from_file)
        config = BackboneConfig(MODEL, {**ARGS, **args}, pretrained=True)
        return load_backbone(config, task, seed=0)
