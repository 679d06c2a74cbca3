"""Pictures of a map and of networks' predictions of it. (H, W) the size of a map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from search.report.samples_data import Map, Picture, Samples
from supernet.tasks.drawing import WHITE, colour, colour_labels, palette

# Colour maps of numbers and of their errors, relative to the truth, and the error at its end.
NUMBERS, ERRORS, LARGE_ERROR = "turbo_r", "magma", 0.5
# Of right and wrong labels. Neither is black, the colour of class 0.
RIGHT, WRONG = (200, 200, 200), (213, 94, 0)
MAX_CLASSES = 20
RGB = tuple[int, int, int]


@dataclass(frozen=True)
class MapPictures:
    """Pictures (H, W, 3) of a map, and of the predictions of several networks.

    Args:
        truth: The map.
        predictions, errors: A picture for each network.
        span: Numbers at the ends of the colour map; None for labels.
    """

    truth: Picture
    predictions: Sequence[Picture]
    errors: Sequence[Picture]
    span: tuple[float, float] | None


def draw_maps(networks: Sequence[Samples], k: int) -> MapPictures:
    """Draw image `k` of each network's samples: on one scale, which covers all of them."""
    first, maps = networks[0], [each.predictions[k] for each in networks]
    truth, everywhere = first.truths[k], np.ones(first.truths[k].shape, dtype=bool)
    valid = truth != first.void
    if first.classes:
        return MapPictures(
            colour_labels(truth, valid),
            [colour_labels(each, everywhere) for each in maps],
            [_draw_wrong(each, truth, valid) for each in maps],
            None,
        )
    span = find_span([truth[valid], *maps])
    scale = np.where(valid, truth, 1)
    errors = [np.abs(each - truth) / scale for each in maps]
    return MapPictures(
        colour(truth, *span, NUMBERS, valid),
        [colour(each, *span, NUMBERS, np.isfinite(each)) for each in maps],
        [colour(each, 0, LARGE_ERROR, ERRORS, valid) for each in errors],
        span,
    )


def find_span(maps: Sequence[Map]) -> tuple[float, float]:
    """Find the least and the greatest finite number of maps; 0 and 1 without any."""
    numbers = np.concatenate([each[np.isfinite(each)] for each in maps])
    return (float(numbers.min()), float(numbers.max())) if numbers.size else (0.0, 1.0)


def make_legend(networks: Sequence[Samples], images: int) -> dict[str, RGB]:
    """Make the legend of labels: the classes that most pixels have, in their order, and errors."""
    first = networks[0]
    maps = [*first.truths[:images], *(x for each in networks for x in each.predictions[:images])]
    counts = np.bincount(np.concatenate([each.ravel() for each in maps]), minlength=256)
    counts[int(first.void)] = 0
    counts = counts[: len(first.classes)]
    most = sorted(np.argsort(-counts, kind="stable")[:MAX_CLASSES])
    legend = {first.classes[label]: _rgb(palette()[label]) for label in most if counts[label]}
    return {**legend, "no class": (WHITE, WHITE, WHITE), "right": RIGHT, "wrong": WRONG}


def _draw_wrong(prediction: Map, truth: Map, valid: Map) -> Picture:
    colours = np.array([WRONG, RIGHT], dtype=np.uint8)
    picture = colours[(prediction == truth).astype(np.intp)]
    return np.where(valid[..., None], picture, np.uint8(WHITE))


def _rgb(values: Picture) -> RGB:
    red, green, blue = (int(each) for each in values)
    return red, green, blue
