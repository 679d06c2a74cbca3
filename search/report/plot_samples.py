"""Plots of test images: predictions of several networks, and the tokens that skip no block."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colorbar import Colorbar
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import Bbox

from search.report.map_pictures import ERRORS, LARGE_ERROR, NUMBERS, draw_maps, make_legend
from search.report.samples_data import Mask, Picture, Samples
from search.report.search_result import Score
from search.report.style import INK

# Inches: width of a panel, height of a line of titles, gap between the pictures of two images.
COLUMN, LINE, GAP = 2.3, 0.16, 0.1
# Of the keys to the right of the panels.
BAR, LEGEND = 0.85, 1.75
LONGEST_LINE, LONGEST_NAME = 32, 20  # characters of a title above a panel, of a class
TITLE: Any = {"fontsize": 9, "fontweight": "normal", "loc": "left"}
MAX_NETWORKS = 5
MAX_RUNS = 5
MAX_IMAGES = 3
# Tint of the tokens that bypass a run: dark and bright images differ from it.
TINT, STRENGTH = (170, 68, 153), 0.65


def draw_predictions(networks: Mapping[str, Samples], score: Score) -> Figure:
    """Draw images with truth, and under each other prediction and error of each network.

    Above each prediction is the image's score. To the right are keys of the colours: bars for
    numbers, a bar for each image, or a legend of labels.

    Args:
        networks: Samples of the networks, of the same images, by label.
        score: The score of the samples.
    """
    shown = dict(list(networks.items())[:MAX_NETWORKS])
    samples = list(shown.values())
    first = samples[0]
    margin = LEGEND if first.classes else BAR
    figure, axes = _make_grid(first, ["image, truth", *shown], 2, margin)
    for k in range(len(axes) // 2):
        above, below = axes[2 * k : 2 * k + 2]
        pictures = draw_maps(samples, k)
        _show(above[0], first.images[k])
        _show(below[0], pictures.truth)
        for column, each in enumerate(samples):
            _show(above[column + 1], pictures.predictions[column])
            _show(below[column + 1], pictures.errors[column])
            title = above[column + 1].get_title("left")
            lines = [title, _describe_score(each.scores[k], score)]
            above[column + 1].set_title("\n".join(filter(None, lines)), **TITLE)
        if pictures.span is not None:
            bar = _add_bar(figure, above[-1], ScalarMappable(Normalize(*pictures.span), NUMBERS))
            bar.set_label(score.unit.strip() or "value", fontsize=8)
            errors = ScalarMappable(Normalize(0, LARGE_ERROR), ERRORS)
            bar = _add_bar(figure, below[-1], errors, extend="max")
            bar.set_label("relative error", fontsize=8)
    if first.classes:
        legend = make_legend(samples, len(axes) // 2)
        handles = [
            Patch(
                facecolor=f"#{bytes(rgb).hex()}",
                edgecolor=INK,
                lw=0.5,
                label=name[:LONGEST_NAME],
            )
            for name, rgb in legend.items()
        ]
        corner = 1 - LEGEND / figure.get_figwidth(), 1
        figure.legend(handles=handles, loc="upper left", bbox_to_anchor=corner, fontsize=8)
    return figure


def draw_kept_tokens(samples: Samples) -> Figure:
    """Draw images with the patch tokens that bypass each run of blocks tinted."""
    runs = dict(list(samples.kept.items())[:MAX_RUNS])
    titles = ["image"]
    for name, mask in runs.items():
        first, _, last = name.partition("-")
        blocks = f"block {first}" if first == last else f"blocks {first} to {last}"
        titles.append(f"{blocks}: {mask[0].sum()} of {mask[0].size}")
    figure, axes = _make_grid(samples, titles)
    for k, row in enumerate(axes):
        picture = samples.images[k]
        _show(row[0], picture)
        for ax, mask in zip(row[1:], runs.values(), strict=True):
            _show(ax, tint(picture, mask[k]))
    return figure


def tint(picture: Picture, kept: Mask) -> Picture:
    """Tint a picture (H, W, 3) outside a mask of patches (h, w), where brightness alone stays."""
    height, width = picture.shape[:2]
    rows = np.arange(height) * kept.shape[0] // height
    columns = np.arange(width) * kept.shape[1] // width
    inside = kept[np.ix_(rows, columns)]
    grey = picture.mean(axis=2, keepdims=True)
    tinted = STRENGTH * np.array(TINT) + (1 - STRENGTH) * grey
    return np.where(inside[..., None], picture, tinted.astype(np.uint8))


def _make_grid(
    samples: Samples, titles: Sequence[str], rows_of_image: int = 1, margin: float = 0.0
) -> tuple[Figure, list[list[Axes]]]:
    """Make a figure of panels side by side, with a title above each column.

    Args:
        samples: The samples.
        titles: The titles.
        rows_of_image: Rows of panels for each image.
        margin: Inches on the right for keys; if any, images also have a line of text above them.
    """
    images, columns = min(MAX_IMAGES, len(samples)), len(titles)
    rows, line = images * rows_of_image, LINE if margin else 0.0
    height, width = samples.images[0].shape[:2]
    panel, gap = COLUMN * height / width, GAP + 1.5 * line
    wrapped = [textwrap.fill(title, LONGEST_LINE) for title in titles]
    top = line + LINE * (1 + max(title.count("\n") + 1 for title in wrapped))
    size = COLUMN * columns + margin, top + panel * rows + gap * (images - 1)
    figure = Figure(figsize=size)
    figure.set_layout_engine("none")
    axes = figure.subplots(rows, columns, squeeze=False)
    for r in range(rows):
        bottom = size[1] - top - panel * (r + 1) - gap * (r // rows_of_image)
        for c in range(columns):
            sides = 0.985 * COLUMN / size[0], 0.985 * panel / size[1]
            place = COLUMN * c / size[0], bottom / size[1]
            axes[r][c].set_position(Bbox.from_bounds(*place, *sides))
            axes[r][c].set_axis_off()
    for ax, title in zip(axes[0], wrapped, strict=True):
        ax.set_title(title, **TITLE)
    return figure, axes.tolist()


def _show(axes: Axes, picture: Picture) -> None:
    axes.imshow(picture, aspect="auto", interpolation="nearest")


def _describe_score(value: float, score: Score) -> str:
    if math.isnan(value):
        return ""
    unit = "" if score.is_percent else score.unit
    return f"{score.title} {score.format({score.name: value})}{unit}"


def _add_bar(
    figure: Figure,
    axes: Axes,
    colours: ScalarMappable,
    extend: Literal["neither", "max"] = "neither",
) -> Colorbar:
    """Add the bar of a colour map to the right of a panel."""
    box, inch = axes.get_position(), 1 / figure.get_figwidth()
    place = box.x1 + 0.08 * inch, box.y0 + 0.05 * box.height, 0.12 * inch, 0.9 * box.height
    bar = figure.colorbar(colours, cax=figure.add_axes(place), extend=extend)
    bar.ax.tick_params(labelsize=8)
    bar.ax.grid(visible=False)
    bar.locator = MaxNLocator(4)
    bar.update_ticks()
    return bar
