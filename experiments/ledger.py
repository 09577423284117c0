"""references/ledger.csv: every published number, ours beside it, and the verdict."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, fields, replace

from experiments.cells import Cell, compare
from experiments.tables import Table
from network_pruning.evaluation.metrics import per_seed
from network_pruning.evaluation.rows import Row
from network_pruning.runs import RunDir, lock

NAME = "ledger.csv"
NEVER = "never published"


@dataclass(frozen=True)
class LedgerRow:
    """One line of the ledger, as text; the fields are its header.

    A line is known by its first four fields and its provenance.
    """

    system: str
    table: str
    row: str
    metric: str
    published: str
    provenance: str
    ours_mean: str
    ours_sd: str
    seeds: str
    command: str
    date: str
    verdict: str

    @property
    def key(self) -> tuple[str, ...]:
        """What the line is about."""
        return self.system, self.table, self.row, self.metric, self.provenance


HEADER = [field.name for field in fields(LedgerRow)]


def measured(
    by_seed: Mapping[int, float], date: str, places: int = 5
) -> dict[str, str]:
    """Returns the fields of a line that say what was measured.

    Args:
        by_seed: Value by seed; there may be none.
        date: Of the day.
        places: Decimals.

    Returns:
        Mean, sd (of two seeds and more), seeds and date, by field; empty words where
        there is nothing.
    """
    values = list(by_seed.values())
    mean, sd = per_seed(values) if values else (0.0, 0.0)
    return {
        "ours_mean": f"{mean:.{places}f}" if values else "",
        "ours_sd": f"{sd:.{places}f}" if len(values) > 1 else "",
        "seeds": " ".join(map(str, sorted(by_seed))),
        "date": date if values else "",
    }


def collect(
    table: Table, monitor: str, rows: Sequence[Row], date: str
) -> list[LedgerRow]:
    """Turns the rows of a run into lines of the ledger.

    Args:
        table: Which table.
        monitor: Which of its runs.
        rows: Of that run; cells without all seeds are "not run".
        date: The day the run finished.

    Returns:
        One line for each cell and published run.
    """
    return [
        line
        for cell in compare(table, monitor, rows)
        for line in _lines(table, monitor, cell, date)
    ]


def _lines(table: Table, monitor: str, cell: Cell, date: str) -> list[LedgerRow]:
    published = [(f"{p.value:.4f}", p.provenance) for p in cell.references]
    seeds = " ".join(map(str, table.config(monitor).seeds))
    return [
        LedgerRow(
            system="sweep",
            table=table.name,
            row=f"{monitor} {cell.kind} k={cell.k:g}",
            metric=cell.metric,
            published=value,
            provenance=provenance,
            ours_mean=_number(cell.mean),
            ours_sd=_number(cell.sd),
            seeds=seeds if cell.values else "",
            command=table.command(),
            date=date if cell.values else "",
            verdict=cell.verdict,
        )
        for value, provenance in published or [("", NEVER)]
    ]


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.5f}"


def upsert(known: Iterable[LedgerRow], new: Iterable[LedgerRow]) -> list[LedgerRow]:
    """Puts new lines in the place of old ones about the same.

    Args:
        known: The ledger so far.
        new: Lines to put in; "not run" leaves a number that is there alone, and the
            same number its date.

    Returns:
        All lines, sorted by key.
    """
    lines = {line.key: line for line in known}
    for line in new:
        old = lines.get(line.key)
        stays = old is not None and (
            line.verdict == "not run" or replace(line, date=old.date) == old
        )
        if not stays:
            lines[line.key] = line
    return [lines[key] for key in sorted(lines)]


def record(folder: RunDir, new: Iterable[LedgerRow]) -> None:
    """Puts lines into the ledger of a folder, which several processes may do.

    Raises:
        DamagedFile: If the ledger there is not one.
    """
    with lock(folder.path / ".ledger.lock", wait=True):
        known = read(folder) if folder.exists(NAME) else []
        folder.write_text(NAME, write(upsert(known, new)))


def kept_note(folder: RunDir, table: str, note: str | None) -> str:
    """Returns what is said of the data of a table, and keeps it beside its cells.

    Args:
        folder: Of the ledger.
        table: Name of its file of cells.
        note: To be said from now on; None: what was said before.
    """
    name = f"cells/{table}-note.txt"
    if note is not None:
        folder.write_text(name, note)
    return folder.read_text(name) if folder.exists(name) else ""


def write(lines: Iterable[LedgerRow]) -> str:
    """Returns the ledger as csv."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerows([HEADER, *map(astuple, lines)])
    return out.getvalue()


def read(folder: RunDir) -> list[LedgerRow]:
    """Returns the lines of the ledger of a folder.

    Raises:
        DamagedFile: If a line has not the cells of the header.
    """
    lines = list(csv.reader(io.StringIO(folder.read_text(NAME))))
    if not lines or lines[0] != HEADER:
        raise folder.damaged(NAME, f"line 1: expected {','.join(HEADER)}")
    for number, line in enumerate(lines, start=1):
        if len(line) != len(HEADER):
            raise folder.damaged(NAME, f"line {number}: expected {len(HEADER)} cells")
    return [LedgerRow(*line) for line in lines[1:]]
