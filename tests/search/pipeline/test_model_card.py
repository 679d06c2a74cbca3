"""Model cards: what their templates make of an arch file."""

from huggingface_hub import ModelCard
from search_toys import toy_space

from search.pipeline.config import Config
from search.pipeline.model_card import SUPERNET, render_subnet_card
from space import Arch, BlockArch, Pool
from space.arch_file import ArchFile
from supernet.config import BackboneConfig, DataConfig, DatasetConfig
from supernet.export import Check

CHECKS = {name: Check(35, 1, 0, 1e-6) for name in ("safetensors", "torch-export", "onnx")}
METRICS = {
    "retrained": {"top1": 0.75, "cross_entropy": 0.5, "unknown": 1.0},
    "inherited": {"top1": 0.5},
    "search": {"kl": 0.25},
    "test_images": 40,
    "images_per_second": {"value": 1234.5, "device": "cpu", "batch": 8},
    "latency_ms": {
        "value": 3.5,
        "batch": 8,
        "measured": False,
        "device": "cpu",
        "dtype": "float32",
    },
}


def card_of(source, metrics=METRICS, checks=CHECKS, config=None):
    pools = BlockArch(pool=Pool("avg2d", (7, 4))), BlockArch(pool=Pool("max1d", stride=5))
    arch = Arch(
        (*pools, BlockArch(skip=0.5), BlockArch(), BlockArch(attention="shared"), BlockArch())
    )
    file = ArchFile(
        arch=arch,
        shape=toy_space().shape,
        backbone={"model": "deit"},
        input={"size": [3, 224, 224]},
        classes=tuple(f"class {i}" for i in range(12)),
        metrics=metrics,
    )
    text = render_subnet_card(
        "net", file, config or Config(), search_images=35, checks=checks, source=source
    )
    return ModelCard(text)


def rows_of(card):
    return [line for line in card.text.splitlines() if line.startswith("| ")]


def test_a_card_of_own_weights_has_all_that_was_measured_with_them():
    card = card_of("subnet.safetensors")
    assert [(each.metric_name, each.metric_value) for each in card.data.eval_results] == [
        ("top-1, retrained", 0.75),
        ("cross entropy, retrained", 0.5),
    ]
    assert rows_of(card)[3:] == [
        "| top-1, retrained | 0.7500 | 40 images of the test split |",
        "| cross entropy, retrained | 0.5000 | 40 images of the test split |",
        "| images/s | 1234.5 | device cpu, batch 8 |",
        "| ms a batch of 8 | 3.5 | predicted, cpu, float32 |",
    ]
    assert "weights of its own, retrained" in card.text
    assert "images of 224 x 224; 12 classes: class 0, class 1" in card.text
    assert "class 9, ....\n" in card.text
    assert "Archs were chosen by it" not in card.text


def test_a_card_of_the_supernets_weights_has_the_figures_of_those():
    card = card_of(SUPERNET)
    assert rows_of(card)[3:-1] == [
        "| top-1, with the supernet's weights | 0.5000 | 40 images of the test split |",
        "| KL to the full network, with the supernet's weights | 0.2500 | 35 images of the search "
        "split |",
    ]
    assert "Archs were chosen by it" in card.text


def test_a_card_without_figures_has_the_exact_ones_alone():
    card = card_of("subnet.safetensors", metrics={})
    assert card.data.eval_results is None
    assert [row.split(" | ")[-1] for row in rows_of(card)] == ["measured |", *["exact |"] * 2]
    assert "the weights beside its arch file" in card.text


def test_a_card_names_what_the_hub_has_and_what_training_began_with():
    backbone = BackboneConfig(model="m", checkpoint="/secret/place/deit.pth")
    for name, found in (("hfds/user/name", ["user/name"]), ("torch/cifar10", None)):
        data = DataConfig(dataset=DatasetConfig(name=name))
        card = card_of(SUPERNET, config=Config(backbone=backbone, data=data))
        assert card.data.datasets == found
        assert "starting from `deit.pth`" in card.text
        assert "secret" not in card.text
    pretrained = Config(backbone=BackboneConfig(model="m", pretrained=True))
    assert "starting from timm's pretrained weights" in card_of(SUPERNET, config=pretrained).text


def test_a_card_describes_each_block_and_each_file():
    text = card_of(SUPERNET).text
    for line in (
        "    0            28  avg2d to 7 x 4, own attention",
        "    1             6  max1d to stride 5, own attention",
        "    2             3  50% of the patch tokens skip it, chosen by `map`, own attention",
        "    4             6  the attention maps of the block before",
        "- `model.onnx`: logits within 1.0e-06 on 35 images, another selection in 0 of 35 "
        "(image, run) pairs",
    ):
        assert f"\n{line}\n" in text
    loading = {"safetensors": "timm.create_model", "torch-export": "torch.export", "onnx": "onnxr"}
    for name, words in loading.items():
        assert words in text
        assert (
            words
            not in card_of(SUPERNET, checks={k: v for k, v in CHECKS.items() if k != name}).text
        )
    assert "\n\n\n" not in text
