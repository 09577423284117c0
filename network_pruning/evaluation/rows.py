"""rows.csv and latency.csv: one line a network, written and read back exactly.

A row is one network: a seed, a sparsity, a kind of pruning. Floats are written so that
reading returns them bit for bit; a cell that does not apply is empty.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, fields
from typing import Any, TypeVar

import numpy as np

from network_pruning.evaluation.metrics import Float64

KINDS = ("weight", "unit")


@dataclass(frozen=True)
class Row:
    """One pruned network of a sweep.

    Attributes:
        seed: Of the training run.
        sparsity: Requested, in [0, 1).
        kind: weight or unit.
        accuracy: On the test split.
        loss: Cross entropy plus the penalty of the masked kernels.
        achieved_sparsity: Share of weights or units in fact removed.
        cross_entropy: Mean, nats, no penalty.
        nll: Mean, nats.
        ece: 15 equal-width bins.
        nonzeros: Nonzero trainable weights.
        params: Trainable weights.
        macs: Multiply-accumulates for one example.
        keras_bytes: Size of the .keras file.
        gzip_bytes: Size of its content, gzipped.
        tflite_bytes: Size of the float32 LiteRT file.
        tflite_int8_bytes: Size of the int8 LiteRT file.
        certificate: Largest relative difference of the shrunk network; none for weight.
        accuracy_one_shot: Accuracy before fine-tuning; none without fine-tuning.
    """

    seed: int
    sparsity: float
    kind: str
    accuracy: float
    loss: float
    achieved_sparsity: float
    cross_entropy: float
    nll: float
    ece: float
    nonzeros: int
    params: int
    macs: int | None = None
    keras_bytes: int | None = None
    gzip_bytes: int | None = None
    tflite_bytes: int | None = None
    tflite_int8_bytes: int | None = None
    certificate: float | None = None
    accuracy_one_shot: float | None = None


@dataclass(frozen=True)
class LatencyRow:
    """The timed values of one network, kept apart because no two runs repeat them.

    Attributes:
        seed: Of the training run.
        sparsity: Requested, in [0, 1).
        kind: weight or unit.
        litert_median_us: LiteRT, batch 1, microseconds.
        litert_p90_us: Its 90th percentile.
        tf256_median_ms: TensorFlow, batch 256, milliseconds.
        tf256_p90_ms: Its 90th percentile.
        threads: Of LiteRT.
    """

    seed: int
    sparsity: float
    kind: str
    litert_median_us: float
    litert_p90_us: float
    tf256_median_ms: float
    tf256_p90_ms: float
    threads: int


_PARSERS: dict[str, Callable[[str], Any]] = {
    "int": int,
    "float": float,
    "str": str,
    "int | None": lambda text: int(text) if text else None,
    "float | None": lambda text: float(text) if text else None,
}


_AnyRow = TypeVar("_AnyRow", Row, LatencyRow)


def write_rows(rows: Sequence[Row]) -> str:
    """Renders rows as the text of rows.csv.

    Args:
        rows: In the order they shall stand.

    Returns:
        Header and one line a row; newline-terminated.
    """
    return _write(rows, Row)


def read_rows(text: str) -> list[Row]:
    """Parses the text of rows.csv.

    Args:
        text: What `write_rows` has returned.

    Returns:
        The rows, equal to those written.
    """
    return _read(text, Row)


def write_latency(rows: Sequence[LatencyRow]) -> str:
    """Renders rows as the text of latency.csv.

    Args:
        rows: In the order they shall stand.

    Returns:
        Header and one line a row; newline-terminated.
    """
    return _write(rows, LatencyRow)


def read_latency(text: str) -> list[LatencyRow]:
    """Parses the text of latency.csv.

    Args:
        text: What `write_latency` has returned.

    Returns:
        The rows, equal to those written.
    """
    return _read(text, LatencyRow)


def write_table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Renders a header and lines of cells as csv text.

    Args:
        header: Column names.
        lines: Cells, one sequence a line.

    Returns:
        The text, with a newline after each line.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(lines)
    return out.getvalue()


def grid(rows: Sequence[_AnyRow], kind: str, field: str) -> Float64:
    """Arranges one quantity for figures and means.

    Args:
        rows: Of any order.
        kind: weight or unit.
        field: Name of a numeric field of the rows.

    Returns:
        Values [seeds, sparsities], both ascending over ALL the rows; nan where missing.
    """
    seeds = sorted({row.seed for row in rows})
    values = np.full((len(seeds), len(sparsities(rows))), np.nan)
    column = {sparsity: j for j, sparsity in enumerate(sparsities(rows))}
    for row in rows:
        value = getattr(row, field)
        if row.kind == kind and value is not None:
            values[seeds.index(row.seed), column[row.sparsity]] = value
    return values


def sparsities(rows: Sequence[_AnyRow]) -> list[float]:
    """Lists the sparsities that occur, ascending.

    Args:
        rows: Of any order.

    Returns:
        Each sparsity once.
    """
    return sorted({row.sparsity for row in rows})


def _write(rows: Sequence[_AnyRow], cls: type[_AnyRow]) -> str:
    lines = [
        ["" if value is None else str(value) for value in astuple(row)] for row in rows
    ]
    return write_table([field.name for field in fields(cls)], lines)


def _read(text: str, cls: type[_AnyRow]) -> list[_AnyRow]:
    header = [field.name for field in fields(cls)]
    reader = csv.reader(io.StringIO(text), strict=True)
    try:
        lines = [(reader.line_num, cells) for cells in reader]
    except csv.Error as error:
        raise ValueError(f"line {reader.line_num}: {error}.") from None
    if not lines or lines[0][1] != header:
        raise ValueError(f"line 1: expected the header {','.join(header)}.")
    if not text.endswith("\n"):
        last = text.count("\n") + 1
        raise ValueError(f"line {last}: the file is cut short; restore or delete it.")
    return [_parse(cells, cls, number) for number, cells in lines[1:]]


def _parse(cells: list[str], cls: type[_AnyRow], line: int) -> _AnyRow:
    if len(cells) != len(fields(cls)):
        raise ValueError(
            f"line {line}: got {len(cells)} cells, expected {len(fields(cls))}."
        )
    values = {}
    for field, text in zip(fields(cls), cells, strict=True):
        try:
            values[field.name] = _PARSERS[str(field.type)](text)
        except ValueError:
            raise ValueError(
                f"line {line}: {field.name} is {text!r}, expected {field.type}."
            ) from None
    if values["kind"] not in KINDS:
        raise ValueError(
            f"line {line}: kind is {values['kind']!r}, expected weight or unit."
        )
    return cls(**values)
