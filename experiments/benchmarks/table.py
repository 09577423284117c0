"""Ratios of contestants against bars, as csv and as Markdown."""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from experiments.benchmarks.race import Sample

COLUMNS = (
    "what",
    "ours wall s",
    "peer wall s",
    "ratio wall",
    "ratio wall min",
    "ratio wall max",
    "ours cpu s",
    "peer cpu s",
    "ratio cpu",
    "ratio cpu min",
    "ratio cpu max",
    "rounds",
    "bar",
    "met",
    "note",
)
_SHOWN = (
    "what",
    "ours wall s",
    "peer wall s",
    "ratio wall (min..max)",
    "ours cpu s",
    "peer cpu s",
    "ratio cpu (min..max)",
    "rounds",
    "bar",
    "met?",
    "note",
)


@dataclass(frozen=True)
class Bar:
    """The largest ratio ours / peer that is good enough.

    Attributes:
        limit: Of the wall ratio.
        cpu: Whether the CPU ratio must be as good.
        text: How it is written; by default as a decimal.
    """

    limit: float
    cpu: bool = False
    text: str = ""

    def __str__(self) -> str:
        """Returns the condition."""
        limit = self.text or f"{self.limit:.2f}"
        return f"≤ {limit} wall{' and cpu' if self.cpu else ''}"


@dataclass(frozen=True)
class Ratio:
    """Ours / peer: of the medians, and the extremes over the rounds."""

    ours: float
    peer: float
    low: float
    high: float

    @property
    def value(self) -> float:
        """The ratio of the medians."""
        return self.ours / self.peer


@dataclass(frozen=True)
class Line:
    """One comparison."""

    what: str
    wall: Ratio
    cpu: Ratio
    rounds: int
    bar: Bar | None = None
    note: str = ""

    @property
    def met(self) -> str:
        """Whether the bar is met: yes, no, or nothing without a bar."""
        if self.bar is None:
            return ""
        ratios = [self.wall.value] + [self.cpu.value] * self.bar.cpu
        return "yes" if max(ratios) <= self.bar.limit else "no"


def compare(
    what: str,
    ours: Sequence[Sample],
    peer: Sequence[Sample],
    bar: Bar | None = None,
    note: str = "",
) -> Line:
    """Compares two contestants over the rounds in which both took part.

    Args:
        what: Names the comparison.
        ours: One sample a round.
        peer: One sample a round; may end earlier.
        bar: What the ratio should be.
        note: For the reader.

    Returns:
        The line of the table.

    Raises:
        ValueError: If there is no round.
    """
    if not ours or not peer:
        raise ValueError(
            f"{what}: got {len(ours)} and {len(peer)} rounds, expected at least one"
        )
    rounds = min(len(ours), len(peer))
    wall, cpu = (
        _ratio([s.wall for s in ours[:rounds]], [s.wall for s in peer[:rounds]]),
        _ratio([s.cpu for s in ours[:rounds]], [s.cpu for s in peer[:rounds]]),
    )
    return Line(what, wall, cpu, rounds, bar, note)


def _ratio(ours: Sequence[float], peer: Sequence[float]) -> Ratio:
    each = [a / b for a, b in zip(ours, peer, strict=True)]
    return Ratio(statistics.median(ours), statistics.median(peer), min(each), max(each))


def csv_text(lines: Sequence[Line]) -> str:
    """Returns the comparisons as csv, all columns."""
    return csv_of(COLUMNS, [_cells(line) for line in lines])


def csv_of(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Returns any table as csv."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([header, *rows])
    return out.getvalue()


def markdown(lines: Sequence[Line]) -> str:
    """Returns the comparisons as a Markdown table."""
    return markdown_of(_SHOWN, [_shown(line) for line in lines])


def markdown_of(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Returns any table as Markdown; all columns but the first are flush right."""
    rule = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join(f"| {' | '.join(line)} |" for line in (header, rule, *rows)) + "\n"


def _cells(line: Line) -> list[str]:
    numbers = [
        [
            f"{r.ours:.4f}",
            f"{r.peer:.4f}",
            *(f"{v:.4f}" for v in (r.value, r.low, r.high)),
        ]
        for r in (line.wall, line.cpu)
    ]
    bar = "" if line.bar is None else str(line.bar)
    wall, cpu = numbers
    return [line.what, *wall, *cpu, str(line.rounds), bar, line.met, line.note]


def _shown(line: Line) -> list[str]:
    wall, cpu = (
        [f"{r.ours:.2f}", f"{r.peer:.2f}", f"{r.value:.3f} ({r.low:.3f}..{r.high:.3f})"]
        for r in (line.wall, line.cpu)
    )
    bar = "" if line.bar is None else str(line.bar)
    return [line.what, *wall, *cpu, str(line.rounds), bar, line.met, line.note]
