"""The figures of rankings: scores of units, and how far rankings agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.ticker import PercentFormatter

from network_pruning.evaluation.figures import BLUE, GREY, ORANGE, SKY, canvas


def unit_scores(
    scores: Mapping[str, tuple[npt.ArrayLike, npt.ArrayLike | None]],
    criterion: str,
    path: Path,
) -> None:
    """Draws every group's scores, best unit first, with twice the standard error.

    Args:
        scores: Values [n_units], and standard errors or None, by group name.
        criterion: Its name.
        path: Of the PNG.
    """
    columns = min(len(scores), 4)
    rows = -(-len(scores) // columns)
    with canvas(path, (3.2 * columns, 2.4 * rows), rows, columns) as axes:
        flat = np.ravel(axes)
        for unused in flat[len(scores) :]:
            unused.set_visible(False)
        for each, (name, (values, error)) in zip(flat, scores.items(), strict=False):
            order = np.argsort(-np.asarray(values), kind="stable")
            spread = None if error is None else 2 * np.asarray(error)[order]
            ordered = np.asarray(values)[order]
            each.errorbar(
                np.arange(order.size), ordered, spread, fmt=".", color=BLUE, ecolor=SKY
            )
            each.set_title(name)
            each.axhline(0, color=GREY, linewidth=0.8)
        flat[0].set_ylabel(criterion)
        flat[0].set_xlabel("units, best first")


def sensitivity(
    ratios: npt.ArrayLike, curves: Mapping[str, npt.ArrayLike], path: Path
) -> None:
    """Draws validation accuracy against the share of one group removed.

    Args:
        ratios: Shares [ratios].
        curves: Accuracy [ratios] by group name.
        path: Of the PNG.
    """
    with canvas(path, (8, 5)) as axes:
        ax = axes[0, 0]
        for place, (name, accuracy) in enumerate(curves.items()):
            shade = place / max(len(curves) - 1, 1)
            ax.plot(ratios, accuracy, marker="o", color=colormaps["viridis"](shade))
            ax.annotate(name, (np.ravel(ratios)[-1], np.ravel(accuracy)[-1]), size=7)
        ax.set(xlabel="Share of one group removed", ylabel="Validation accuracy")
        ax.xaxis.set_major_formatter(PercentFormatter(1.0))


def switch_correlations(
    correlations: Mapping[str, Mapping[str, npt.ArrayLike]], path: Path
) -> None:
    """Draws histograms of the correlations of switches, one panel a group.

    Args:
        correlations: Of all pairs, by group and law.
        path: Of the PNG.
    """
    columns = len(correlations)
    with canvas(path, (3.4 * columns, 3), 1, columns) as axes:
        for ax, (group, by_law) in zip(axes.flat, correlations.items(), strict=True):
            bins = np.linspace(-1, 1, 61)
            for (law, values), colour in zip(
                by_law.items(), (BLUE, ORANGE), strict=True
            ):
                ax.hist(np.ravel(values), bins, color=colour, alpha=0.6, label=law)
            ax.axvline(0, color=GREY, linewidth=0.8)
            ax.set(title=group, yscale="log", xlabel="Correlation of two switches")
        # Outside: bars may stand anywhere inside.
        axes.flat[-1].legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
        axes.flat[0].set_ylabel("Pairs")


def agreement(
    mean: npt.ArrayLike, sd: npt.ArrayLike, labels: Sequence[str], path: Path
) -> None:
    """Draws how far rankings agree, as a matrix of correlations.

    Args:
        mean: Correlations in [-1, 1] [labels, labels].
        sd: Over seeds, likewise.
        labels: Of rows and columns.
        path: Of the PNG.
    """
    values, spread = np.asarray(mean), np.asarray(sd)
    side = 1.5 + 0.55 * len(labels)
    with canvas(path, (side + 1, side)) as axes:
        ax = axes[0, 0]
        ax.imshow(values, cmap="RdBu", vmin=-1, vmax=1)
        ax.grid(visible=False)
        ax.set_xticks(range(len(labels)), labels, rotation=90)
        ax.set_yticks(range(len(labels)), labels)
        for (row, column), value in np.ndenumerate(values):
            text = f"{value:.2f}\n±{spread[row, column]:.2f}"
            dark = abs(value) > 0.6
            colour = "white" if dark else "#222222"
            ax.text(column, row, text, ha="center", va="center", size=6, color=colour)
        ax.set_title("Rank agreement: Spearman's correlation, mean of groups")
