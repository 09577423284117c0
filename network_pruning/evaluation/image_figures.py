"""Figures of images, and of what networks make of them: PNG files from plain arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from PIL import Image

from network_pruning.evaluation.figures import BLUE, GREEN, GREY, ORANGE, canvas

GAP = 2
"""Pixels between two images."""
SIDE = 56
"""Pixels that a small image is enlarged to, at least."""
PALETTE = (BLUE, ORANGE, GREEN, GREY)


def image_grid(images: npt.ArrayLike, columns: int, path: Path) -> None:
    """Lays images in rows.

    Args:
        images: [n, h, w, 1 or 3], shown from 0 (black) to 1.
        columns: Images in a row.
        path: Of the PNG.
    """
    Image.fromarray(tiled(images, columns)).save(path)


def tiled(images: npt.ArrayLike, columns: int) -> npt.NDArray[np.uint8]:
    """Returns images in rows as one picture uint8 [height, width, 3]."""
    x = np.asarray(images, np.float32)
    n, height, width, channels = x.shape
    rows = -(-n // columns)
    cells = np.full((rows * columns, height + GAP, width + GAP, 3), 255, np.uint8)
    pixels = np.rint(np.clip(x, 0, 1) * 255).astype(np.uint8)
    colours = np.broadcast_to(pixels, (*x.shape[:3], 3)) if channels == 1 else pixels
    cells[:n, :height, :width] = colours
    grid = cells.reshape(rows, columns, *cells.shape[1:]).transpose(0, 2, 1, 3, 4)
    picture = grid.reshape(rows * (height + GAP), columns * (width + GAP), 3)
    times = -(-SIDE // max(height, width))
    return picture[:-GAP, :-GAP].repeat(times, axis=0).repeat(times, axis=1)


def by_class(
    images: npt.ArrayLike, labels: npt.ArrayLike, number: int
) -> npt.NDArray[Any]:
    """Returns the first images of each class.

    Args:
        images: [n, ...].
        labels: [n].
        number: Of each class.

    Returns:
        [classes * number, ...], class by class; of one with fewer, the last again.
    """
    x, y = np.asarray(images), np.asarray(labels)
    rows = [np.flatnonzero(y == label) for label in np.unique(y)]
    chosen = [own[np.minimum(np.arange(number), len(own) - 1)] for own in rows]
    return x[np.concatenate(chosen)]


def mean_and_random(
    images: npt.ArrayLike, labels: npt.ArrayLike, seed: int
) -> npt.NDArray[Any]:
    """Returns the mean of each class, and behind them one random image of each.

    Args:
        images: [n, ...].
        labels: [n].
        seed: Of the draw.

    Returns:
        [2 * classes, ...].
    """
    x, y = np.asarray(images), np.asarray(labels)
    generator = np.random.default_rng(seed)
    found = np.unique(y)
    means = [x[y == label].mean(axis=0) for label in found]
    drawn = [x[generator.choice(np.flatnonzero(y == label))] for label in found]
    return np.stack([*means, *drawn])


def pixel_histograms(images: Mapping[str, npt.ArrayLike], path: Path) -> None:
    """Draws how often each intensity occurs.

    Args:
        images: Arrays of pixels by what they are.
        path: Of the PNG.
    """
    with canvas(path, (7, 4)) as axes:
        _histograms(axes[0, 0], images, "Intensity of a pixel", log=True)


def distances(values: Mapping[str, npt.ArrayLike], path: Path) -> None:
    """Draws histograms of distances to the nearest training image.

    Args:
        values: Distances by whose they are.
        path: Of the PNG.
    """
    with canvas(path, (7, 4)) as axes:
        _histograms(axes[0, 0], values, "Distance to the nearest training image")


def _histograms(
    ax: Axes, values: Mapping[str, npt.ArrayLike], label: str, log: bool = False
) -> None:
    flat = {name: np.ravel(np.asarray(x)) for name, x in values.items()}
    ends = [f(x) for x in flat.values() for f in (np.min, np.max)]
    edges = np.linspace(min(ends), max(ends) or 1, 61)
    for (name, x), colour in zip(flat.items(), PALETTE, strict=False):
        counts, _ = np.histogram(x, edges)
        ax.stairs(counts / len(x), edges, color=colour, label=name)
    ax.set(xlabel=label, ylabel="Share", yscale="log" if log else "linear")
    ax.legend()


def logit_curves(
    logits: Mapping[str, npt.ArrayLike],
    labels: npt.ArrayLike,
    class_names: Sequence[str],
    path: Path,
) -> None:
    """Draws each class's logits as normal curves, one panel a class of images.

    Args:
        logits: [n, classes] by network; of equal mean and sd as the curves.
        labels: Class of each image [n].
        class_names: In the order of the labels.
        path: Of the PNG.
    """
    y = np.asarray(labels)
    count = len(class_names)
    columns = min(5, count)
    rows = -(-count // columns)
    with canvas(path, (3 * columns, 2.2 * rows), rows, columns) as axes:
        for ax in axes.flat[count:]:
            ax.set_axis_off()
        for label, ax in zip(range(count), axes.flat, strict=False):
            for (name, values), colour in zip(logits.items(), PALETTE, strict=False):
                own = np.asarray(values, np.float64)[y == label]
                if len(own):
                    _curve(ax, own, label, colour, name)
            ax.set_title(class_names[label])
        axes.flat[0].legend()


def _curve(
    ax: Axes, logits: npt.NDArray[np.float64], label: int, colour: str, name: str
) -> None:
    """Draws the logit of the images' own class firmly, those of the others faintly."""
    for other in range(logits.shape[1]):
        mean, sd = logits[:, other].mean(), max(logits[:, other].std(), 1e-3)
        x = np.linspace(mean - 3 * sd, mean + 3 * sd, 61)
        y = np.exp(-(((x - mean) / sd) ** 2) / 2) / sd
        own = other == label
        ax.plot(
            x,
            y,
            color=colour,
            alpha=1.0 if own else 0.25,
            linewidth=1.8 if own else 0.8,
            label=name if own else None,
        )


def loss_traces(traces: Sequence[npt.ArrayLike], path: Path) -> None:
    """Draws the loss against the step, one curve a shard.

    Args:
        traces: Loss before each step.
        path: Of the PNG.
    """
    with canvas(path, (7, 4)) as axes:
        for trace in traces:
            axes[0, 0].plot(np.asarray(trace), color=BLUE, alpha=0.5)
        axes[0, 0].set(xlabel="Step", ylabel="Loss of an image", yscale="log")
