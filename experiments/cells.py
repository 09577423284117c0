"""A table cell by cell: the published numbers, ours over the seeds, the verdict."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from experiments.published import Published
from experiments.tables import Table
from network_pruning.configs import SweepConfig
from network_pruning.evaluation.metrics import per_seed
from network_pruning.evaluation.rows import KINDS, Row

DENSE_BAR = "dense accuracy bar"
BAR_PROVENANCE = "bar of this project"
FLAT = 0.015
"""A published accuracy this near its own dense one is not at the cliff."""
TOLERANCE = 0.01
"""How far below the lowest such accuracy our mean may lie."""


@dataclass(frozen=True)
class Reference:
    """What a cell is held against.

    Attributes:
        run: Which published run, or "bar".
        value: The number.
        provenance: Where it comes from.
    """

    run: str
    value: float
    provenance: str


@dataclass(frozen=True)
class Cell:
    """One number of a table.

    Attributes:
        kind: weight or unit.
        k: Fraction pruned.
        metric: Field of the rows, or `DENSE_BAR`.
        values: Ours, one a seed; empty where not all seeds are there.
        references: What was published of it, or the project's own bar.
        bar: Least mean that is good enough; None for no bar.
    """

    kind: str
    k: float
    metric: str
    values: tuple[float, ...]
    references: tuple[Reference, ...] = ()
    bar: float | None = None

    @property
    def mean(self) -> float:
        """Mean over seeds; nan where not run."""
        return float(per_seed(self.values)[0]) if self.values else math.nan

    @property
    def sd(self) -> float:
        """Sample standard deviation over seeds; nan for fewer than two."""
        return float(per_seed(self.values)[1]) if self.values else math.nan

    @property
    def verdict(self) -> str:
        """One of met, missed, no bar, not run."""
        if not self.values:
            return "not run"
        if self.bar is None:
            return "no bar"
        return "met" if _dusted(self.mean) >= _dusted(self.bar) else "missed"


def compare(table: Table, monitor: str, rows: Sequence[Row]) -> list[Cell]:
    """Sets the rows of a run beside what was published.

    Args:
        table: Which table.
        monitor: Which of its runs.
        rows: Of that run; may be incomplete or none.

    Returns:
        Cells by metric, kind and k.
    """
    config = table.config(monitor)
    cells = [
        _cell(table, config, rows, kind, k, metric)
        for metric in table.metrics
        for kind in KINDS
        for k in config.k_vals
    ]
    return [*_dense_cells(table, config, rows), *cells]


def _dense_cells(
    table: Table, config: SweepConfig, rows: Sequence[Row]
) -> Iterator[Cell]:
    if table.dense_bar is not None:
        values = _values(config, rows, "weight", 0.0, "accuracy")
        bar = Reference("bar", table.dense_bar, BAR_PROVENANCE)
        yield Cell("weight", 0.0, DENSE_BAR, values, (bar,), table.dense_bar)


def _cell(
    table: Table,
    config: SweepConfig,
    rows: Sequence[Row],
    kind: str,
    k: float,
    metric: str,
) -> Cell:
    values = _values(config, rows, kind, k, metric)
    if metric == "accuracy" and (kind, k) in table.bars:
        bar = Reference("bar", table.bars[kind, k], BAR_PROVENANCE)
        return Cell(kind, k, metric, values, (bar,), bar.value)
    runs = [p for p in table.published if (p.kind, p.metric) == (kind, metric)]
    here = tuple(Reference(p.run, p.value, p.provenance) for p in runs if p.k == k)
    least = _published_bar(runs, k) if metric == "accuracy" else None
    return Cell(kind, k, metric, values, here, least)


def _values(
    config: SweepConfig, rows: Sequence[Row], kind: str, k: float, metric: str
) -> tuple[float, ...]:
    """Returns one value a seed, or none unless every seed is there."""
    found = {
        row.seed: getattr(row, metric)
        for row in rows
        if (row.kind, row.sparsity) == (kind, k) and getattr(row, metric) is not None
    }
    if not set(config.seeds) <= set(found):
        return ()
    return tuple(found[seed] for seed in config.seeds)


def _published_bar(runs: Sequence[Published], k: float) -> float | None:
    """Returns the bar of an accuracy: where no run had fallen, the lowest less a point.

    Args:
        runs: Accuracies of one kind, all runs and k.
        k: Of the cell.

    Returns:
        Least mean, or None at the cliff and where nothing was published.
    """
    dense = {each.run: each.value for each in runs if each.k == 0}
    here = {each.run: each.value for each in runs if each.k == k}
    flat = all(_dusted(abs(here[run] - dense[run])) <= FLAT for run in here)
    return _dusted(min(here.values()) - TOLERANCE) if here and flat else None


def _dusted(value: float) -> float:
    """Returns the value without what binary floats add to 0.9813 - 0.01."""
    return round(value, 9)
