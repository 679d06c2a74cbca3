"""Model cards: what an exported network is, does, and was measured at, for the Hugging Face Hub."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from huggingface_hub import EvalResult, ModelCardData

from search.config import Config
from search.latency.costs import is_latency
from search.stages.subnets import SUPERNET
from space.arch import BlockArch
from space.arch_file import ArchFile
from space.cost import macs, params, token_counts
from supernet.exporting import FORMATS, Check

# Metrics as arch files have them, by what they were measured with, and on which split.
MEASURED = {
    "retrained": ("test", "retrained"),
    "inherited": ("test", "with the supernet's weights"),
    "search": ("search", "with the supernet's weights"),
}
NAMES = {
    "top1": "top-1",
    "top5": "top-5",
    "cross_entropy": "cross entropy",
    "kl": "KL to the full network",
}
TYPES = {"top1": "accuracy", "top5": "accuracy"}

LOADING = {
    "safetensors": """With timm; `hf-hub:USER/NAME` in place of `local-dir:...` once it lies there:

```python
import timm
from supernet import tokennas_vit  # of tokennas: timm then knows it
model = timm.create_model("local-dir:FOLDER", pretrained=True).eval()
transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
```

From its files, which is the same:

```python
from supernet import create_subnet
model = create_subnet("arch.yaml", weights="model.safetensors").eval()
```""",
    "torch-export": """With torch alone, any batch size:

```python
import json, torch
about = {"config.json": ""}
model = torch.export.load("model.pt2", extra_files=about).module()
config = json.loads(about["config.json"])  # label_names; mean, std, ... in pretrained_cfg
logits = model(images)  # (B, C, H, W), normalised as pretrained_cfg says
```""",
    "onnx": """With onnxruntime alone, any batch size:

```python
import json, onnxruntime
session = onnxruntime.InferenceSession("model.onnx")
config = json.loads(session.get_modelmeta().custom_metadata_map["config.json"])
(logits,) = session.run(["logits"], {"images": images})  # float32 (B, C, H, W), normalised
```""",
}


@dataclass(frozen=True)
class Card:
    """A model card; it says nothing that was not measured.

    Args:
        name: of the network.
        file: its arch file.
        config: of the run.
        search_images: how many the search split has.
        checks: how equal each file is to the subnet, by format.
        source: of the weights: `supernet`, or the file that lay beside the arch file.
    """

    name: str
    file: ArchFile
    config: Config
    search_images: int
    checks: Mapping[str, Check]
    source: str

    def text(self) -> str:
        """The card: YAML front matter, then Markdown."""
        parts = (
            f"---\n{self._data().to_yaml()}\n---",
            f"# {self.name}",
            self._what(),
            "## Figures",
            self._figures(),
            "## Blocks",
            self._blocks(),
            "## Files",
            self._files(),
            "## Loading",
            *(text for name, text in LOADING.items() if name in self.checks),
            f"Written by tokennas {version('tokennas')}. No license is stated: add `license:` to "
            "the front matter before you publish, by your own command: `hf upload USER/NAME .`",
        )
        return "\n\n".join(parts) + "\n"

    @property
    def _weights(self) -> str:
        """Which of the arch file's metrics were measured with the weights."""
        if self.source == SUPERNET:
            return "search"
        return "retrained" if "retrained" in self.file.metrics else ""

    @property
    def _dataset(self) -> str:
        return self.config.data.dataset.name

    def _data(self) -> ModelCardData:
        results = [
            EvalResult(
                task_type="image-classification",
                dataset_type=self._dataset,
                dataset_name=self._dataset,
                dataset_split=split,
                metric_type=TYPES.get(name, name),
                metric_name=f"{NAMES.get(name, name)}, {how}",
                metric_value=value,
            )
            for split, how, name, value in self._metrics()
        ]
        return ModelCardData(
            library_name="timm",
            pipeline_tag="image-classification",
            tags=["image-classification", "timm", "tokennas"],
            datasets=hub_datasets(self._dataset),
            model_name=self.name,
            eval_results=results or None,
        )

    def _what(self) -> str:
        file = self.file
        size = " x ".join(map(str, file.input.get("size", ())[1:]))
        shown = ", ".join(file.classes[:10]) + (", ..." if len(file.classes) > 10 else "")
        weights = {
            "retrained": "weights of its own, retrained",
            "search": "the weights of the supernet",
        }
        whose = weights.get(self._weights, "weights that lay beside its arch file")
        return (
            f"An image classifier: `{file.backbone['model']}` with the blocks that are listed "
            f"below, found by tokennas, with {whose}. Trained on `{self._dataset}`, beginning "
            f"with {beginning(self.config)}; images of {size}; {len(file.classes)} classes: "
            f"{shown}."
        )

    def _figures(self) -> str:
        file = self.file
        rows = [
            f"| MACs of an image | {macs(file.arch, file.shape):,} | exact |",
            f"| parameters | {params(file.arch, file.shape):,} | exact |",
        ]
        for split, how, name, value in self._metrics():
            # How many the test split had then is in the arch file: fewer may be read now.
            count = file.metrics.get("test_images") if split == "test" else self.search_images
            images = f"{count or 'some'} images of the {split} split"
            rows.append(f"| {NAMES.get(name, name)} | {value:.4f} | {images}, {how} |")
        retrained = self._weights == "retrained"
        speed = file.metrics.get("images_per_second") if retrained else None
        if isinstance(speed, dict) and isinstance(speed.get("value"), int | float):
            where = ", ".join(f"{key} {each}" for key, each in speed.items() if key != "value")
            rows.append(f"| images/s | {speed['value']:,} | {where} |")
        for name, each in file.metrics.items():
            if is_latency(name) and isinstance(each, dict):
                how = "measured" if each.get("measured") else "predicted"
                where = f"{each.get('device')}, {each.get('dtype')}"
                rows.append(
                    f"| ms a batch of {each.get('batch')} | {each.get('value')} | {how}, {where} |"
                )
        note = (
            "\n\nThe search split is cut from the training images: archs were chosen by it, so "
            "that its figures are better than those of new images would be."
        )
        chosen = any(split == "search" for split, *_ in self._metrics())
        table = "\n".join(("| | value | measured |", "|---|---|---|", *rows))
        return table + note * chosen

    def _metrics(self) -> Iterator[tuple[str, str, str, float]]:
        """(split, with which weights, name, value) of what was measured with these weights."""
        for key in {"retrained": ["retrained"], "search": ["inherited", "search"]}.get(
            self._weights, []
        ):
            metrics = self.file.metrics.get(key)
            for name, value in metrics.items() if isinstance(metrics, dict) else ():
                if name in NAMES and isinstance(value, int | float):
                    yield (*MEASURED[key], name, value)

    def _blocks(self) -> str:
        file = self.file
        counts = token_counts(file.arch, file.shape)
        lines = [
            f"{i:>5}  {count:>12}  {_described(block)}"
            for i, (block, count) in enumerate(zip(file.arch.blocks, counts, strict=True))
        ]
        return "\n".join(("```", "block  patch tokens", *lines, "```"))

    def _files(self) -> str:
        rows = [f"- `{FORMATS[name].file}`: {check}" for name, check in self.checks.items()]
        images = (
            "Each was run on images of the search split when it was written, and compared with "
        )
        return "\n".join(
            (
                images + "the subnet in float32; logits in units of the largest one.\n",
                *rows,
                "- `arch.yaml`: the arch, its costs, where it comes from",
                "- `config.json`: classes and preprocessing, as timm reads them",
            )
        )


def hub_datasets(name: str) -> list[str] | None:
    """A data set of the Hugging Face Hub by its name there; others have none there."""
    return [name.removeprefix("hfds/")] if name.startswith("hfds/") else None


def beginning(config: Config) -> str:
    """What weights the supernet's training began with: their license may bind whoever publishes."""
    if config.backbone.checkpoint is not None:
        return f"`{Path(config.backbone.checkpoint).name}`"
    return "timm's pretrained weights" if config.backbone.pretrained else "random weights"


def _described(block: BlockArch) -> str:
    words = []
    if block.pool is not None:
        target = block.pool.grid or f"stride {block.pool.stride}"
        where = " x ".join(map(str, target)) if isinstance(target, tuple) else target
        words.append(f"{block.pool.kind} to {where}")
    if block.skip:
        words.append(f"{block.skip:.0%} of the patch tokens skip it, chosen by `{block.selector}`")
    words.append("the attention maps of the block before" if block.shared else "own attention")
    return ", ".join(words)
