"""What a comparison shows: tables, rank agreement, lines of the ledger."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from scipy import stats

from experiments.ledger import NEVER, LedgerRow
from experiments.rankings import bars
from experiments.rankings.bars import best_by_valid, errors
from experiments.rankings.cells import AFTER, BEFORE, DENSE, Cell
from experiments.rankings.presets import RANDOM, Preset
from network_pruning.types import Scores

Float64 = npt.NDArray[np.float64]


def markdown(
    name: str, preset: Preset, cells: Sequence[Cell], date: str, note: str = ""
) -> str:
    """Returns the tables of a comparison as a page; a note is said of all of it."""
    kept = sorted({cell.kept for cell in cells if cell.stage != DENSE}, reverse=True)
    before, after = errors(cells, BEFORE), errors(cells, AFTER)
    dense = errors(cells, DENSE)
    labels = [*preset.contenders]
    labels += [label for label in preset.retrained if label not in labels]
    lines = [
        f"# {name}",
        "",
        f"    python -m experiments.ranking --preset={name} --procedure=all",
        "",
        f"{date}. Test error in percent, mean ± sd over seeds "
        f"{', '.join(_seeds(cells))}; {RANDOM}: {preset.draws} draws a seed "
        "before retraining. Criteria see train and valid only; the retrained epoch is "
        "the best on valid." + (f" Data: {note}." if note else ""),
        "",
    ]
    for value in dense.values():
        lines += [f"Dense: {_shown(value, len(_seeds(cells)))}.", ""]
    for width in kept:
        sizes = [cell for cell in cells if cell.kept == width]
        params = _range([cell.params for cell in sizes])
        macs = _range([cell.macs for cell in sizes])
        lines += [
            f"## Kept {width}",
            "",
            f"{params} parameters, {macs} MACs.",
            "",
            "| ranked by | before retraining | retrained | examples forward / backward "
            "| seconds |",
            "|---|---:|---:|---:|---:|",
        ]
        for label in labels:
            if (width, label) in before or (width, label) in after:
                lines.append(_line(label, width, before, after, cells))
        best = best_by_valid(preset, cells, width)
        if best is not None:
            lines += ["", f"Best on valid after retraining: {best}."]
        lines.append("")
    return "\n".join(lines)


def _range(values: Sequence[int]) -> str:
    """Returns the one value, or the least and the largest: rivals share a budget."""
    low, high = min(values), max(values)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _seeds(cells: Sequence[Cell], *key: str) -> list[str]:
    """Returns the seeds of the cells of (kept, contender, stage), or of all cells."""
    found = {
        cell.seed
        for cell in cells
        if not key or (cell.kept, cell.contender, cell.stage) == key
    }
    return list(map(str, sorted(found)))


def _line(
    label: str,
    width: str,
    before: Mapping[tuple[str, str], tuple[float, float, int]],
    after: Mapping[tuple[str, str], tuple[float, float, int]],
    cells: Sequence[Cell],
) -> str:
    ranked = [
        cell
        for cell in cells
        if (cell.contender, cell.kept, cell.stage) == (label, width, BEFORE)
    ]
    price = seconds = ""
    if ranked:
        price = f"{ranked[0].forward:,} / {ranked[0].backward:,}"
        seconds = f"{np.mean([cell.seconds for cell in ranked]):.1f}"
    key = width, label
    of = len(_seeds(cells))
    shown = (_shown(found.get(key), of) for found in (before, after))
    words = label, *shown, price, seconds
    return f"| {' | '.join(words)} |"


def _shown(value: tuple[float, float, int] | None, of: int) -> str:
    """Returns an error, and of how many seeds it is where it is not of all."""
    if value is None:
        return ""
    mean, sd, seeds = value
    if seeds == 1:
        return f"{mean:.2f} (one seed)"
    said = f"{mean:.2f} ± {sd:.2f}"
    return said if seeds == of else f"{said} ({seeds} seeds)"


def agreement(
    scores: Mapping[int, Mapping[str, Mapping[str, Scores]]], labels: Sequence[str]
) -> tuple[Float64, Float64]:
    """Compares rankings: Spearman's correlation of the scores, averaged over groups.

    Args:
        scores: By seed, label and group name.
        labels: Rows and columns.

    Returns:
        Mean and sd over seeds [labels, labels].
    """
    of_seeds = []
    for by_label in scores.values():
        matrix = np.eye(len(labels))
        for (i, a), (j, b) in itertools.combinations(enumerate(labels), 2):
            groups = by_label[a]
            values = [spearman(groups[g].values, by_label[b][g].values) for g in groups]
            matrix[i, j] = matrix[j, i] = np.mean(values)
        of_seeds.append(matrix)
    stacked = np.stack(of_seeds)
    several = len(stacked) > 1
    return stacked.mean(axis=0), stacked.std(axis=0, ddof=int(several))


def spearman(a: Float64, b: Float64) -> float:
    """Returns the rank correlation of two lists; 0 where one of them is constant."""
    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return 0.0
    return float(stats.spearmanr(a, b).statistic)


def ledger_lines(
    name: str, preset: Preset, cells: Sequence[Cell], date: str, note: str = ""
) -> list[LedgerRow]:
    """Returns a comparison as lines of the ledger, one a mean, failures included."""
    lines = [
        _ledger_line(
            name,
            " ".join(_seeds(cells, kept, contender, stage)),
            f"kept {kept}, {contender}",
            stage,
            value,
            date,
        )
        for stage in (DENSE, BEFORE, AFTER)
        for (kept, contender), value in errors(cells, stage).items()
    ]
    lines += bars.lines(name, preset, cells, date)
    table = f"{name} ({note})" if note else name
    return [dataclasses.replace(line, table=table) for line in lines]


def _ledger_line(
    name: str,
    seeds: str,
    row: str,
    stage: str,
    value: tuple[float, float, int],
    date: str,
) -> LedgerRow:
    mean, sd, _ = value
    return LedgerRow(
        system="ranking",
        table=name,
        row=row,
        metric=f"test error % {stage}",
        published="",
        provenance=NEVER,
        ours_mean=f"{mean:.4f}",
        ours_sd="" if np.isnan(sd) else f"{sd:.4f}",
        seeds=seeds,
        command=f"python -m experiments.ranking --preset={name} --procedure=all",
        date=date,
        verdict="no bar",
    )
