"""The `config.json` that timm reads from the Hugging Face Hub or a folder."""

from __future__ import annotations

from typing import Any

from space.arch_file import ArchFile
from supernet.models.elastic import ElasticViT
from supernet.models.subnet import timm_input

# Preprocessing keys of timm's config.
LOOK = ("input_size", "mean", "std", "crop_pct", "crop_mode", "interpolation")


def hub_config(subnet: ElasticViT, file: ArchFile) -> dict[str, Any]:
    """Make the config of a subnet: arch, classes, preprocessing.

    `timm.create_model("local-dir:FOLDER", pretrained=True)` and `hf-hub:USER/NAME` read it.
    """
    own: Any = subnet.pretrained_cfg
    arch = ArchFile(file.arch, file.shape, backbone=file.backbone, input=file.input)
    return {
        "architecture": "tokennas_vit",
        "num_classes": subnet.num_classes,
        "num_features": subnet.num_features,
        **({"label_names": list(file.classes)} if file.classes else {}),
        "model_args": {"arch": arch.to_dict()},
        "pretrained_cfg": {
            **{key: own[key] for key in LOOK if key in own},
            **timm_input(file),
            "fixed_input_size": True,
            "num_classes": subnet.num_classes,
            "first_conv": own.get("first_conv"),
            "classifier": own.get("classifier"),
        },
    }
