"""results.csv and its readable forms: rows aggregated over their seeds."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

import numpy as np

from network_pruning.evaluation.metrics import Float64, per_seed
from network_pruning.evaluation.rows import KINDS, Row, grid, sparsities


@dataclass(frozen=True)
class _Quantity:
    title: str
    field: str
    mean: str = ".4f"
    sd: str = ".4f"


_LEADING = (_Quantity("Test Accuracy", "accuracy"), _Quantity("Test Loss", "loss"))
_FURTHER = (
    _Quantity("Achieved Sparsity", "achieved_sparsity"),
    _Quantity("Cross Entropy", "cross_entropy"),
    _Quantity("NLL", "nll"),
    _Quantity("ECE", "ece"),
    _Quantity("Nonzeros", "nonzeros", ".0f", ".1f"),
    _Quantity("Parameters", "params", ".0f", ".1f"),
    _Quantity("MACs", "macs", ".0f", ".1f"),
    _Quantity("Bytes .keras", "keras_bytes", ".0f", ".1f"),
    _Quantity("Bytes gzip", "gzip_bytes", ".0f", ".1f"),
    _Quantity("Bytes tflite", "tflite_bytes", ".0f", ".1f"),
    _Quantity("Bytes tflite int8", "tflite_int8_bytes", ".0f", ".1f"),
    _Quantity("Certificate", "certificate", ".2e", ".2e"),
    _Quantity("Test Accuracy One-Shot", "accuracy_one_shot"),
)


def results(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Aggregates rows over their seeds: the table of results.csv.

    Means, except for the certificate, where the worst seed counts; the sd columns
    (ddof=1) are empty for one seed.

    Args:
        rows: Of any order; at most one of a seed, sparsity and kind.

    Returns:
        Column names, and one list of cells for each sparsity, ascending.

    Raises:
        ValueError: If a network occurs twice.
    """
    for key, count in Counter((r.seed, r.sparsity, r.kind) for r in rows).items():
        if count > 1:
            raise ValueError(f"rows: seed, sparsity, kind {key} occurs {count} times.")
    columns = {"Sparsity (%)": [format_sparsity(k) for k in sparsities(rows)]}
    for quantity in (*_LEADING, *_FURTHER):
        columns.update(_columns(rows, quantity, sd=False))
    for quantity in (*_LEADING, *_FURTHER):
        columns.update(_columns(rows, quantity, sd=True))
    columns["Seeds"] = [
        str(len({row.seed for row in rows if row.sparsity == k}))
        for k in sparsities(rows)
    ]
    return list(columns), [list(line) for line in zip(*columns.values(), strict=True)]


def terminal_table(rows: Sequence[Row]) -> str:
    """Renders the sweep as aligned text.

    Args:
        rows: Of any order.

    Returns:
        Lines of equal columns: accuracies and losses as mean +- sd, costs of the
        networks pruned by units, gzipped bytes of both kinds.
    """
    header, lines = _summary(rows)
    widths = [max(map(len, column)) for column in zip(header, *lines, strict=True)]
    rule = ["-" * width for width in widths]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True))
        for line in (header, rule, *lines)
    )


def markdown_table(rows: Sequence[Row]) -> str:
    """Renders the sweep as a Markdown table with the cells of `terminal_table`.

    Args:
        rows: Of any order.

    Returns:
        The table, without a final newline.
    """
    header, lines = _summary(rows)
    rule = ["---:"] * len(header)
    return "\n".join(f"| {' | '.join(line)} |" for line in (header, rule, *lines))


def format_sparsity(sparsity: float) -> str:
    """Writes a sparsity with four decimals, or with all it has if it has more.

    Args:
        sparsity: A fraction.

    Returns:
        Such as 0.2500 or 0.99995.
    """
    exact = Decimal(str(sparsity))
    digits = -int(exact.as_tuple().exponent)
    return f"{exact:.4f}" if digits <= 4 else f"{exact:f}"


def _columns(
    rows: Sequence[Row], quantity: _Quantity, *, sd: bool
) -> dict[str, list[str]]:
    title = f"{quantity.title} sd" if sd else quantity.title
    # The published files spell these two, and only these, with a colon.
    title = "Test Loss:" if title == "Test Loss" else title
    columns = {}
    for kind in KINDS:
        cells = []
        for values in grid(rows, kind, quantity.field).T:
            mean, spread = _aggregate(values, quantity)
            cells.append(
                _cell(spread, quantity.sd) if sd else _cell(mean, quantity.mean)
            )
        columns[f"{title} ({kind.title()})"] = cells
    return columns


def _aggregate(values: Float64, quantity: _Quantity) -> tuple[float, float]:
    present = values[~np.isnan(values)]
    if not len(present):
        return math.nan, math.nan
    mean, sd = per_seed(present)
    worst = quantity.field == "certificate"
    return float(present.max() if worst else mean), float(sd)


def _cell(value: float, spec: str) -> str:
    return "" if math.isnan(value) else format(value, spec)


def _summary(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    accuracy, loss = _LEADING
    further = {quantity.field: quantity for quantity in _FURTHER}
    columns = {"k": [f"{Decimal(str(k)).normalize():f}" for k in sparsities(rows)]}
    for title, quantity, kind in (
        ("accuracy (weight)", accuracy, "weight"),
        ("accuracy (unit)", accuracy, "unit"),
        ("loss (weight)", loss, "weight"),
        ("loss (unit)", loss, "unit"),
    ):
        columns[title] = _spread(rows, quantity, kind)
    for title, field, kind in (
        ("params (shrunk)", "params", "unit"),
        ("MACs (shrunk)", "macs", "unit"),
        ("gzip bytes (weight)", "gzip_bytes", "weight"),
        ("gzip bytes (unit)", "gzip_bytes", "unit"),
    ):
        columns[title] = [
            _grouped(_aggregate(values, further[field])[0])
            for values in grid(rows, kind, field).T
        ]
    return list(columns), [list(line) for line in zip(*columns.values(), strict=True)]


def _spread(rows: Sequence[Row], quantity: _Quantity, kind: str) -> list[str]:
    cells = []
    for values in grid(rows, kind, quantity.field).T:
        mean, sd = _aggregate(values, quantity)
        spread = "" if math.isnan(sd) else f" ± {sd:.4f}"
        cells.append(_cell(mean, ".4f") + spread)
    return cells


def _grouped(value: float) -> str:
    return "" if math.isnan(value) else f"{value:,.0f}".replace(",", " ")
