"""Figures of maps: points in the plane, coloured by class."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.axes import Axes

from network_pruning.evaluation.figures import canvas

Points = tuple[npt.ArrayLike, npt.ArrayLike]
"""Places [n, 2] and the class of each [n]."""


def scatter(points: Points, names: Sequence[str], title: str, path: Path) -> None:
    """Draws one map.

    Args:
        points: Places and classes.
        names: Of the classes.
        title: Of the figure.
        path: Of the PNG.
    """
    with canvas(path, (7, 5.5)) as axes:
        ax = axes[0, 0]
        _draw(ax, points, names)
        ax.set_title(textwrap.fill(title, 70), fontsize=9)
        _legend(ax, names)


def panels(
    grid: Mapping[str, Mapping[str, Points]], names: Sequence[str], path: Path
) -> None:
    """Draws maps side by side, with one legend.

    Args:
        grid: Row -> column -> places and classes; every row has the same columns.
        names: Of the classes.
        path: Of the PNG.
    """
    columns = list(next(iter(grid.values())))
    size = 4.2 * len(columns) + 1.2, 4 * len(grid)
    with canvas(path, size, len(grid), len(columns)) as axes:
        for line, (row, maps) in zip(axes, grid.items(), strict=True):
            for ax, column in zip(line, columns, strict=True):
                _draw(ax, maps[column], names)
                ax.set_title(f"{row}, {column}")
        _legend(axes[0, -1], names)


def _draw(ax: Axes, points: Points, names: Sequence[str]) -> None:
    places, labels = np.asarray(points[0]), np.asarray(points[1])
    for number, name in enumerate(names):
        x, y = places[labels == number].T
        colour = _colour(number, len(names))
        ax.scatter(x, y, s=4, alpha=0.5, color=colour, label=name, linewidths=0)
    ax.set(xticks=[], yticks=[])


def _colour(number: int, of: int) -> tuple[float, ...]:
    if of <= 10:
        return colormaps["tab10"](number)
    return colormaps["hsv"](number / of)


def _legend(ax: Axes, names: Sequence[str]) -> None:
    """Names the classes beside a panel, as far as a reader can tell them apart."""
    if len(names) <= 20:
        ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), markerscale=3)


def removal_curves(
    sparsities: npt.ArrayLike,
    curves: Mapping[str, Mapping[str, npt.ArrayLike]],
    path: Path,
) -> None:
    """Draws accuracy against the share of units cut, a panel for each criterion.

    Args:
        sparsities: Shares cut [sparsities].
        curves: Criterion -> network -> accuracies [seeds, sparsities].
        path: Of the PNG.
    """
    x = np.asarray(sparsities, np.float64)
    with canvas(path, (6 * len(curves), 4.5), 1, len(curves)) as axes:
        for ax, (criterion, by_network) in zip(axes.flat, curves.items(), strict=True):
            for number, (name, given) in enumerate(by_network.items()):
                values = np.asarray(given, np.float64)
                mean = values.mean(axis=0)
                several = len(values) > 1
                spread = np.std(values, axis=0, ddof=1) if several else 0 * mean
                colour = _colour(number, len(by_network))
                ax.plot(x, mean, marker="o", color=colour, label=name)
                ax.fill_between(
                    x, mean - spread, mean + spread, color=colour, alpha=0.18
                )
            ax.set(title=criterion, xlabel="Units cut", ylabel="Test accuracy")
        axes.flat[0].legend(fontsize=8)
