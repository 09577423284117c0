"""What a comparison shows: tables, rank agreement, lines of the ledger."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from experiments.ledger import LedgerRow
from experiments.rankings.cells import AFTER, BEFORE, DENSE, Cell, mean_sd
from experiments.rankings.presets import RANDOM, Preset
from network_pruning.types import Scores

BAR = "bar of this project"
UNVERIFIED = (
    "1.1 % recalled from the AISTATS 2021 paper, unverified; widths inferred from "
    "its 158K MACs"
)
Float64 = npt.NDArray[np.float64]


def errors(
    cells: Sequence[Cell], stage: str
) -> dict[tuple[str, str], tuple[float, float, int]]:
    """Summarises the test errors of a stage.

    Args:
        cells: Of a comparison.
        stage: before, retrained or dense.

    Returns:
        (mean, sd over seeds, number of seeds) in percent by (kept, contender); the
        draws of a random cut are averaged within their seed first.
    """
    found: dict[tuple[str, str], dict[int, list[float]]] = {}
    for cell in cells:
        if cell.stage == stage:
            of_seeds = found.setdefault((cell.kept, cell.contender), {})
            of_seeds.setdefault(cell.seed, []).append(100 * (1 - cell.accuracy))
    return {
        key: (*mean_sd([float(np.mean(v)) for v in seeds.values()]), len(seeds))
        for key, seeds in found.items()
    }


def markdown(name: str, preset: Preset, cells: Sequence[Cell], date: str) -> str:
    """Returns the tables of a comparison as a page."""
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
        "the best on valid.",
        "",
    ]
    for value in dense.values():
        lines += [f"Dense: {_shown(value)}.", ""]
    for width in kept:
        size = next(cell for cell in cells if cell.kept == width)
        lines += [
            f"## Kept {width}",
            "",
            f"{size.params:,} parameters, {size.macs:,} MACs.",
            "",
            "| ranked by | before retraining | retrained | examples forward / backward "
            "| seconds |",
            "|---|---:|---:|---:|---:|",
        ]
        for label in labels:
            if (width, label) in before or (width, label) in after:
                lines.append(_line(label, width, before, after, cells))
        lines.append("")
    return "\n".join(lines)


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
    words = label, _shown(before.get(key)), _shown(after.get(key)), price, seconds
    return f"| {' | '.join(words)} |"


def _shown(value: tuple[float, float, int] | None) -> str:
    if value is None:
        return ""
    mean, sd, seeds = value
    return f"{mean:.2f} ± {sd:.2f}" + ("" if seeds > 1 else " (one seed)")


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
    """Returns the correlation of the ranks of two lists, ties at their mean rank."""
    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return 0.0
    return float(np.corrcoef(mean_ranks(a), mean_ranks(b))[0, 1])


def mean_ranks(values: Float64) -> Float64:
    """Returns the rank of each value, equal ones sharing the mean of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return ((ends - (counts - 1) / 2) - 1)[inverse]


def ledger_lines(
    name: str, preset: Preset, cells: Sequence[Cell], date: str
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
    for widths, bar in preset.bars.items():
        kept = "-".join(map(str, widths))
        after = {
            contender: value
            for (width, contender), value in errors(cells, AFTER).items()
            if width == kept
        }
        lines.append(_bar_line(name, preset, kept, bar, after, date))
    return lines


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
        provenance="never published",
        ours_mean=f"{mean:.4f}",
        ours_sd=f"{sd:.4f}",
        seeds=seeds,
        command=f"python -m experiments.ranking --preset={name} --procedure=all",
        date=date,
        verdict="no bar",
    )


def _bar_line(
    name: str,
    preset: Preset,
    kept: str,
    bar: float,
    after: Mapping[str, tuple[float, float, int]],
    date: str,
) -> LedgerRow:
    whole = {k: v for k, v in after.items() if v[2] == len(preset.seeds)}
    best = min(whole, key=lambda label: whole[label][0]) if whole else None
    mean, sd = whole[best][:2] if best else (float("nan"), float("nan"))
    verdict = "not run" if best is None else "met" if mean <= bar else "missed"
    return LedgerRow(
        system="ranking",
        table=name,
        row=f"kept {kept}, best: {best or 'none'}",
        metric="test error % retrained",
        published=f"{bar:g}",
        provenance=BAR if kept.startswith("8") else f"{BAR}; {UNVERIFIED}",
        ours_mean="" if best is None else f"{mean:.4f}",
        ours_sd="" if best is None else f"{sd:.4f}",
        seeds=" ".join(map(str, preset.seeds)) if best else "",
        command=f"python -m experiments.ranking --preset={name} --procedure=all",
        date=date if best else "",
        verdict=verdict,
    )
