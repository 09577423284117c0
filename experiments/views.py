"""Ours beside the published, as Markdown and for the terminal."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from experiments.cells import Cell
from experiments.tables import Table
from network_pruning.jobs.manifest import command

Grid = tuple[str, list[str], list[list[str]]]
"""Title, header and lines."""


def markdown(
    table: Table, by_monitor: Mapping[str, Sequence[Cell]], dates: Mapping[str, str]
) -> str:
    """Renders a table as a page.

    Args:
        table: Which table.
        by_monitor: Its cells under each monitor.
        dates: When each run was finished; "" for not.

    Returns:
        The text of a .md file.
    """
    parts = [f"# {table.name}", f"{table.about}.", f"    {table.command()}"]
    parts.append(_runs(table, dates))
    parts.append(_READING)
    for title, header, lines in grids(by_monitor):
        rule = ["---:"] * len(header)
        cells = [f"| {' | '.join(line)} |" for line in (header, rule, *lines)]
        parts += [f"## {title}", "\n".join(cells)]
    return "\n\n".join(parts) + "\n"


_READING = (
    "Test split; k is the fraction removed, loss holds the penalty of the masked "
    "kernels. Ours: mean ± one sd over the seeds, the range in brackets, the "
    "difference from the mean of the published (or the bar), and the verdict."
)


def _runs(table: Table, dates: Mapping[str, str]) -> str:
    config = table.config(table.monitors[0])
    lines = [f"Seeds {', '.join(map(str, config.seeds))}; {config.epochs} epochs."]
    if config.finetune_epochs:
        lines.append(
            f"Retrained for {config.finetune_epochs} epochs after each cut, the "
            f"learning rate falling from {config.finetune_learning_rate:g} to zero."
        )
    lines.append("The runs behind it:")
    runs = [
        f"- {dates[monitor] or 'not run'}: `{command(table.config(monitor))}`"
        for monitor in table.monitors
    ]
    return " ".join(lines) + "\n\n" + "\n".join(runs)


def terminal(by_monitor: Mapping[str, Sequence[Cell]]) -> str:
    """Returns the cells of a table as aligned text."""
    return "\n\n".join(
        f"{title}\n{_aligned(header, lines)}"
        for title, header, lines in grids(by_monitor)
    )


def _aligned(header: list[str], lines: list[list[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(header, *lines, strict=True)]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True))
        for line in (header, *lines)
    )


_HEADS = {"only": "published", "bar": "bar"}


def grids(by_monitor: Mapping[str, Sequence[Cell]]) -> Iterator[Grid]:
    """Arranges cells: one grid for each metric and kind, a line for each k.

    Args:
        by_monitor: Cells in the same order under each monitor.

    Yields:
        Title, header and lines.
    """
    lines = list(zip(*by_monitor.values(), strict=True))
    parts = dict.fromkeys((cell.metric, cell.kind) for cell, *_ in lines)
    for metric, kind in parts:
        here = [
            line for line in lines if (line[0].metric, line[0].kind) == (metric, kind)
        ]
        runs = list(dict.fromkeys(r.run for line in here for r in line[0].references))
        header = ["k", *(_HEADS.get(run, f"published, {run}") for run in runs)]
        for monitor in by_monitor:
            header += [f"ours, {monitor}", "difference", "verdict"]
        yield _title(metric, kind), header, [_line(cells, runs) for cells in here]


def _title(metric: str, kind: str) -> str:
    return f"{metric.replace('_', ' ').capitalize()}, {kind}s pruned"


def _line(cells: Sequence[Cell], runs: Sequence[str]) -> list[str]:
    known = {each.run: f"{each.value:.4f}" for each in cells[0].references}
    line = [f"{cells[0].k:g}", *(known.get(run, "") for run in runs)]
    for cell in cells:
        line += [_ours(cell), _difference(cell), cell.verdict]
    return line


def _ours(cell: Cell) -> str:
    if not cell.values:
        return ""
    low, high = min(cell.values), max(cell.values)
    spread = "" if math.isnan(cell.sd) else f" ± {cell.sd:.4f} [{low:.4f}, {high:.4f}]"
    return f"{cell.mean:.4f}{spread}"


def _difference(cell: Cell) -> str:
    if not cell.values or not cell.references:
        return ""
    values = [each.value for each in cell.references]
    return f"{cell.mean - sum(values) / len(values):+.4f}"
