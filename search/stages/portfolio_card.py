"""The model card of a portfolio: its front as a table, and how to load it."""

from __future__ import annotations

from importlib.metadata import version

from huggingface_hub import ModelCardData

from search.config import Config
from search.front import Front
from search.stages.card import beginning, hub_datasets
from search.tables import cell

LOADING = """```python
from search import Portfolio  # of tokennas

portfolio = Portfolio.load("FOLDER")
served = portfolio.at(macs="60%")  # any limits on what the table has; without limits the best
logits = served(images)  # (B, C, H, W), normalised as portfolio.model.pretrained_cfg says
names = portfolio.classes
```"""


def portfolio_card(name: str, front: Front, config: Config, images: int) -> str:
    """YAML front matter, then Markdown.

    Args:
        name: of the portfolio.
        front: its subnets.
        config: of the run.
        images: of the search split, on which the front was measured.
    """
    dataset = config.data.dataset.name
    data = ModelCardData(
        library_name="tokennas",
        pipeline_tag="image-classification",
        tags=["image-classification", "tokennas"],
        datasets=hub_datasets(dataset),
    )
    rows = front.rows()
    columns = [key for key in rows[0] if key != "trial"]
    table = (
        f"| {' | '.join(columns)} |",
        f"|{'---|' * len(columns)}",
        *(f"| {' | '.join(cell(key, row[key]) for key in columns)} |" for row in rows),
    )
    objectives = ", ".join(map(str, front.objectives))
    parts = (
        f"---\n{data.to_yaml()}\n---",
        f"# {name}",
        f"{len(front)} image classifiers over one set of weights: `{config.backbone.model}`, "
        f"trained on `{dataset}` as a supernet, beginning with {beginning(config)}, and the "
        f"subnets that a search found best ({objectives}). Which one runs is chosen for "
        "each call, by budget.",
        "\n".join(table),
        f"What is no cost was measured on {images:,} images that were cut from the training "
        "images; subnets were chosen by it, so that it is better than on new images.",
        "## Loading",
        LOADING,
        f"Written by tokennas {version('tokennas')}. No license is stated: add `license:` to the "
        "front matter before you publish.",
    )
    return "\n\n".join(parts) + "\n"
