"""The figures of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments.stages import Stage
from network_pruning.evaluation import maps
from network_pruning.runs import RunDir

SIZES = ("Cumbersome", "Distilled")
TYPES = ("Baseline", "Sample-clustering")
Place = tuple[str, str]


def place_of(training: Stage) -> Place:
    """Returns size and type of a training, its row and column in the panels.

    A student that does not cluster itself stands under its teacher's type.
    """
    made = training.made or {}
    kind = training.fields["clustering"]
    if training.procedure == "distill" and kind == "none":
        kind = made["teacher_clustering"]
    column = TYPES[0] if kind == "none" else f"{kind.capitalize()}-clustering"
    return SIZES[training.procedure == "distill"], column


def one_map(step: Stage, points: maps.Points, names: Sequence[str], title: str) -> None:
    """Draws one map into its step's folder."""
    step.run.write("map.png", lambda path: maps.scatter(points, names, title, path))


def panels(run: RunDir, drawn: Mapping[Place, Any], names: Sequence[str]) -> None:
    """Draws the 2x2 panels into the run, as soon as their four maps are there."""
    places = [(size, kind) for size in SIZES for kind in TYPES]
    if missing := [", ".join(place) for place in places if place not in drawn]:
        print(f"panels: not drawn, there is no map of {'; '.join(missing)}")
        return
    grid = {size: {kind: drawn[size, kind] for kind in TYPES} for size in SIZES}
    run.write("panels.png", lambda path: maps.panels(grid, names, path))
    print(f"panels: {run.path / 'panels.png'}")


def removability(
    run: RunDir,
    sparsities: Sequence[float],
    curves: Mapping[str, Mapping[str, Sequence[Sequence[float]]]],
) -> None:
    """Draws accuracy against the share of units cut, a panel for each criterion."""
    values = {
        criterion: {name: np.asarray(found) for name, found in by_name.items()}
        for criterion, by_name in curves.items()
    }
    run.write(
        "removability.png", lambda path: maps.removal_curves(sparsities, values, path)
    )
