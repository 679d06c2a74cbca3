"""Plots of test images: predictions of several networks, and the tokens that skip no block."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from search.report.samples_data import Mask, Picture, Samples

# Inches: width of a panel, height of a line of titles, gap between the pictures of two images.
COLUMN, LINE, GAP = 2.3, 0.16, 0.1
LONGEST_LINE = 32  # characters of a title above a panel
MAX_NETWORKS = 5
MAX_RUNS = 5
MAX_IMAGES = 3
# Tint of the tokens that bypass a run: dark and bright images differ from it.
TINT, STRENGTH = (170, 68, 153), 0.65


def draw_predictions(networks: Mapping[str, Samples]) -> Figure:
    """Draw images with truth, and under each other prediction and error of each network.

    Args:
        networks: Samples of the networks, of the same images, by label.
    """
    shown = dict(list(networks.items())[:MAX_NETWORKS])
    first = next(iter(shown.values()))
    figure, axes = _make_grid(first, ["image, truth", *shown], rows_of_image=2)
    for k in range(len(axes) // 2):
        for row, kind in enumerate(("image", "truth")):
            _show(axes[2 * k + row][0], first.pictures[kind][k])
        for column, each in enumerate(shown.values(), 1):
            for row, kind in enumerate(("prediction", "error")):
                _show(axes[2 * k + row][column], each.pictures[kind][k])
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
        picture = samples.pictures["image"][k]
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
    samples: Samples, titles: Sequence[str], rows_of_image: int = 1
) -> tuple[Figure, list[list[Axes]]]:
    """Make a figure of panels side by side, with a title above each column."""
    images, columns = min(MAX_IMAGES, len(samples)), len(titles)
    rows = images * rows_of_image
    height, width = samples.pictures["image"][0].shape[:2]
    panel = COLUMN * height / width
    wrapped = [textwrap.fill(title, LONGEST_LINE) for title in titles]
    top = LINE * (1 + max(title.count("\n") + 1 for title in wrapped))
    size = COLUMN * columns, top + panel * rows + GAP * (images - 1)
    figure = Figure(figsize=size)
    figure.set_layout_engine("none")
    axes = figure.subplots(rows, columns, squeeze=False)
    for r in range(rows):
        bottom = size[1] - top - panel * (r + 1) - GAP * (r // rows_of_image)
        for c in range(columns):
            sides = 0.985 / columns, 0.985 * panel / size[1]
            axes[r][c].set_position(Bbox.from_bounds(c / columns, bottom / size[1], *sides))
            axes[r][c].set_axis_off()
    for ax, title in zip(axes[0], wrapped, strict=True):
        ax.set_title(title, fontsize=9, fontweight="normal")
    return figure, axes.tolist()


def _show(axes: Axes, picture: Picture) -> None:
    axes.imshow(picture, aspect="auto", interpolation="nearest")
