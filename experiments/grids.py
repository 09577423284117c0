"""Tables that fill cell by cell: over several sittings, by several processes.

A grid is a csv in a run folder, one line a cell. Processes share it: a cell is claimed
before it is made, and lines are put in by one process at a time.
"""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import io
import typing
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from typing import Any, Generic, Protocol, TypeVar

from network_pruning.runs import DamagedFile, RunDir, lock

ROWS = "rows.csv"


class Keyed(Protocol):
    """A frozen dataclass of numbers and words, with what it is about."""

    @property
    def key(self) -> tuple[Any, ...]:
        """What tells it from the other cells of its grid; sortable."""
        ...


class OfSeed(Protocol):
    """One number of one seed."""

    @property
    def group(self) -> Any:
        """What it is about, whatever the seed; hashable."""
        ...

    @property
    def seed(self) -> int:
        """Of the run that it was measured in."""
        ...

    @property
    def value(self) -> float:
        """The number."""
        ...


C = TypeVar("C", bound=Keyed)


class Grid(Generic[C]):
    """The cells of one table, as a folder holds them.

    Attributes:
        run: The folder.
    """

    def __init__(self, cell: type[C], run: RunDir) -> None:
        """Names the place; a folder without cells is an empty grid.

        Args:
            cell: Dataclass of the cells; its fields are int, float or str.
            run: Folder.
        """
        self.run = run
        self._cell = cell

    def cells(self) -> dict[tuple[Any, ...], C]:
        """Returns the cells there are now, by key.

        Raises:
            DamagedFile: If rows.csv is not what was written.
        """
        return {cell.key: cell for cell in read(self._cell, self.run, ROWS)}

    def put(self, *cells: C) -> None:
        """Puts cells in, in the place of those about the same."""
        with lock(self.run.path / "claims" / "rows.lock", wait=True):
            known = self.cells() | {cell.key: cell for cell in cells}
            self.run.write_text(ROWS, text(self._cell, known.values()))

    def adopt(self, elsewhere: Iterable[C]) -> None:
        """Takes over what is missing here from cells that were made elsewhere."""
        known = self.cells()
        missing = [cell for cell in elsewhere if cell.key not in known]
        if missing:
            self.put(*missing)

    @contextmanager
    def claim(self, key: tuple[Any, ...]) -> Generator[bool, None, None]:
        """Claims a cell for this process.

        Args:
            key: Of the cell.

        Yields:
            Whether the cell is to be made here: it is not there, and no other process
            is at it.
        """
        name = hashlib.sha256(repr(key).encode()).hexdigest()[:16]
        with lock(self.run.path / "claims" / f"{name}.lock") as mine:
            yield mine and key not in self.cells()


def by_seed(cells: Iterable[OfSeed]) -> dict[Any, dict[int, float]]:
    """Returns what cells are about -> value by seed, in their order."""
    groups: dict[Any, dict[int, float]] = {}
    for cell in cells:
        groups.setdefault(cell.group, {})[cell.seed] = cell.value
    return groups


def merge(
    cell: type[C], run: RunDir, name: str, new: Iterable[C], stays: bool = False
) -> list[C]:
    """Puts cells into a file, which several processes may do.

    Args:
        cell: Dataclass of the cells.
        run: The file's folder.
        name: Of the file.
        new: Cells to put in.
        stays: Whether a cell that is there stays; else a new one takes its place.

    Returns:
        All the file has now.

    Raises:
        DamagedFile: If it was not what was written.
    """
    file = run.path / name
    with lock(file.with_name(f".{file.stem}.lock"), wait=True):
        there = {one.key: one for one in read(cell, run, name)}
        fresh = {one.key: one for one in new}
        cells = fresh | there if stays else there | fresh
        run.write_text(name, text(cell, cells.values()))
    return list(cells.values())


def text(cell: type[C], cells: Iterable[C]) -> str:
    """Returns cells as csv, ordered by key, under a header."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(_header(cell))
    writer.writerows(
        [getattr(each, name) for name in _header(cell)]
        for each in sorted(cells, key=lambda each: each.key)
    )
    return out.getvalue()


def read(cell: type[C], run: RunDir, name: str, required: bool = False) -> list[C]:
    """Returns the cells of a file; none of one that is not there.

    Args:
        cell: Dataclass of the cells.
        run: The file's folder.
        name: Of the file.
        required: Whether it must be there.

    Raises:
        DamagedFile: If it is not what was written.
    """
    if not run.exists(name):
        if required:
            raise run.damaged(name, "it is missing")
        return []
    try:
        return parse(cell, run.read_text(name))
    except DamagedFile:
        raise
    except (ValueError, csv.Error) as error:
        raise run.damaged(name, str(error)) from None


def parse(cell: type[C], content: str) -> list[C]:
    """Returns the cells of a csv.

    Columns at the end may be missing where their fields have defaults: an older version
    wrote them.

    Raises:
        ValueError: If it is none of these cells.
    """
    lines = list(csv.reader(io.StringIO(content)))
    header = _header(cell)
    found = lines[0] if lines else []
    if len(found) < _least(cell) or found != header[: len(found)]:
        raise ValueError(f"line 1: expected {','.join(header)}")
    hints = typing.get_type_hints(cell)
    kinds = [hints[name] for name in found]
    cells = []
    for number, line in enumerate(lines[1:], start=2):
        if len(line) != len(kinds):
            raise ValueError(f"line {number}: {len(line)} words of {len(kinds)}")
        try:
            cells.append(
                cell(*(kind(word) for kind, word in zip(kinds, line, strict=True)))
            )
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from None
    return cells


def _least(cell: type[C]) -> int:
    """Returns how many fields have no default."""
    fields: Any = dataclasses.fields(cell)  # type: ignore[arg-type]
    return sum(field.default is dataclasses.MISSING for field in fields)


def _header(cell: type[C]) -> list[str]:
    fields: Any = dataclasses.fields(cell)  # type: ignore[arg-type]
    return [field.name for field in fields]
