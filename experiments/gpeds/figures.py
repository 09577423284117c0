"""Figures of chains and searches, as PNG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt
from matplotlib import colormaps

from network_pruning.evaluation.figures import BLUE, GREY, canvas

ERRORS = {"predictive": "NLL (nats)", "entropy": "entropy error (nats)"}


def draw_front(tried: Sequence[Any], target: str, path: Path) -> None:
    """Draws every architecture, those of the front in colour.

    Args:
        tried: With error, params, macs and front.
        target: predictive or entropy, what the error is of.
        path: Of the PNG.
    """
    with canvas(path, (9, 3.6), columns=2) as axes:
        for place, cost in zip(axes.flat, ("params", "macs"), strict=True):
            for front, colour, label in ((0, GREY, "tried"), (1, BLUE, "front")):
                chosen = [each for each in tried if each.front == front]
                x = [getattr(each, cost) for each in chosen]
                y = [each.error for each in chosen]
                place.plot(x, y, "o", color=colour, label=label)
            place.set_xscale("log")
            place.set_xlabel({"params": "parameters", "macs": "MACs"}[cost])
        axes[0, 0].set_ylabel(f"{ERRORS[target]}, held-out images")
        axes[0, 1].legend()


def draw_traces(traces: Sequence[npt.NDArray[Any]], path: Path) -> None:
    """Draws the NLL along each chain: of its positions, and of its mean so far.

    Args:
        traces: Step, NLL of the position, NLL of the mean [draws, 3]; one a chain.
        path: Of the PNG.
    """
    with canvas(path, (9, 3.6), columns=2) as axes:
        for number, trace in enumerate(traces):
            colour = colormaps["viridis"](number / max(len(traces), 2))
            for place, column in zip(axes.flat, (1, 2), strict=True):
                options = {"color": colour, "label": f"chain {number}", "lw": 1.0}
                place.plot(trace[:, 0], trace[:, column], **options)
        axes[0, 0].set(xlabel="Step", ylabel="NLL of the position (nats)")
        axes[0, 1].set(xlabel="Step", ylabel="NLL of the mean so far (nats)")
        axes[0, 1].legend()
