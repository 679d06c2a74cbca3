"""Plots of test images: predictions of several networks, and the tokens that skip no block."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from search.report.samples_data import Mask, Picture, Samples

COLUMN = 2.3  # width in inches
MAX_NETWORKS = 5
MAX_RUNS = 5
MAX_IMAGES = 3
# Brightness of the tokens that bypass a run.
DIM = 0.25


def draw_predictions(networks: Mapping[str, Samples]) -> Figure:
    """Draw images with truth, and under each other prediction and error of each network.

    Args:
        networks: Samples of the networks, of the same images, by label.
    """
    shown = dict(list(networks.items())[:MAX_NETWORKS])
    first = next(iter(shown.values()))
    figure, axes = _make_grid(first, 2 * min(MAX_IMAGES, len(first)), 1 + len(shown))
    for k in range(len(axes) // 2):
        for row, kind in enumerate(("image", "truth")):
            _show(axes[2 * k + row][0], first.pictures[kind][k])
        for column, each in enumerate(shown.values(), 1):
            for row, kind in enumerate(("prediction", "error")):
                _show(axes[2 * k + row][column], each.pictures[kind][k])
    for ax, label in zip(axes[0], ("image, truth", *shown), strict=True):
        ax.set_title(label, fontsize=9, fontweight="normal")
    return figure


def draw_kept_tokens(samples: Samples) -> Figure:
    """Draw images with the patch tokens that bypass each run of blocks darkened."""
    runs = dict(list(samples.kept.items())[:MAX_RUNS])
    figure, axes = _make_grid(samples, min(MAX_IMAGES, len(samples)), 1 + len(runs))
    for k, row in enumerate(axes):
        picture = samples.pictures["image"][k]
        _show(row[0], picture)
        for ax, mask in zip(row[1:], runs.values(), strict=True):
            _show(ax, darken(picture, mask[k]))
    titles = ["image"]
    for name, mask in runs.items():
        first, _, last = name.partition("-")
        blocks = f"block {first}" if first == last else f"blocks {first} to {last}"
        titles.append(f"{blocks}: {mask[0].sum()} of {mask[0].size}")
    for ax, title in zip(axes[0], titles, strict=True):
        ax.set_title(title, fontsize=9, fontweight="normal")
    return figure


def darken(picture: Picture, kept: Mask) -> Picture:
    """Darken a picture (H, W, 3) outside the patches of a mask (h, w)."""
    height, width = picture.shape[:2]
    rows = np.arange(height) * kept.shape[0] // height
    columns = np.arange(width) * kept.shape[1] // width
    inside = kept[np.ix_(rows, columns)]
    return np.where(inside[..., None], picture, (DIM * picture).astype(np.uint8))


def _make_grid(samples: Samples, rows: int, columns: int) -> tuple[Figure, list[list[Axes]]]:
    height, width = samples.pictures["image"][0].shape[:2]
    size = COLUMN * columns, COLUMN * rows * height / width + 0.3
    figure = Figure(figsize=size)
    figure.set_layout_engine("none")
    axes = figure.subplots(rows, columns, squeeze=False)
    # Panels side by side, with a line for the titles.
    top = 1 - 0.28 / size[1]
    for r in range(rows):
        for c in range(columns):
            x, y = c / columns, top * (1 - (r + 1) / rows)
            box = Bbox.from_bounds(x, y, 0.985 / columns, 0.985 * top / rows)
            axes[r][c].set_position(box)
            axes[r][c].set_axis_off()
    return figure, axes.tolist()


def _show(axes: Axes, picture: Picture) -> None:
    axes.imshow(picture, aspect="auto", interpolation="nearest")
