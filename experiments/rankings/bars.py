"""What a comparison is held against, and whether it is met."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from experiments.ledger import LedgerRow
from experiments.rankings.cells import AFTER, DENSE, Cell
from experiments.rankings.presets import BASELINES, CONTENDERS, RANDOM, Preset
from network_pruning.evaluation.metrics import per_seed

BAR = "bar of this project"
UNVERIFIED = (
    "1.1 % recalled from the AISTATS 2021 paper, unverified; widths inferred from "
    "its 158K MACs"
)
NOTHING = (np.nan, np.nan, 0)


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
        key: _summed_up([float(np.mean(v)) for v in seeds.values()])
        for key, seeds in found.items()
    }


def _summed_up(values: Sequence[float]) -> tuple[float, float, int]:
    """Returns mean, sd (nan of one) and number of what seeds came to."""
    mean, sd = per_seed(values)
    return float(mean), float(sd), len(values)


def best_by_valid(preset: Preset, cells: Sequence[Cell], kept: str) -> str | None:
    """Returns the ranking whose retrained networks are best on the validation split.

    Args:
        preset: Only contenders that ran with all its seeds count, and no baselines.
        cells: Of the comparison.
        kept: Which widths.
    """
    valid: dict[str, list[float]] = {}
    for cell in cells:
        if (cell.kept, cell.stage) == (kept, AFTER) and cell.contender in CONTENDERS:
            valid.setdefault(cell.contender, []).append(cell.valid_accuracy)
    whole = {k: v for k, v in valid.items() if len(v) >= len(preset.seeds)}
    return max(whole, key=lambda label: float(np.mean(whole[label])), default=None)


def lines(
    name: str, preset: Preset, cells: Sequence[Cell], date: str
) -> list[LedgerRow]:
    """Returns the lines of the ledger that hold a comparison against its bars.

    What is judged after retraining is the ranking that is best on valid: the least of
    several test errors would be an optimist's.
    """
    return [
        LedgerRow(
            system="ranking",
            table=name,
            row=row,
            metric=metric,
            published=f"{bar:g}",
            provenance=provenance,
            ours_mean="" if np.isnan(ours[0]) else f"{ours[0]:.4f}",
            ours_sd="" if np.isnan(ours[1]) else f"{ours[1]:.4f}",
            seeds=_seeds(cells, ours[2]),
            command=f"python -m experiments.ranking --preset={name} --procedure=all",
            date=date if ours[2] else "",
            verdict=_verdict(ours, bar, preset),
        )
        for row, metric, bar, provenance, ours in _held(preset, cells)
    ]


def _seeds(cells: Sequence[Cell], count: int) -> str:
    """Returns the seeds behind a number, or how many where some lack it."""
    seeds = sorted({cell.seed for cell in cells})
    if count in {0, len(seeds)}:
        return " ".join(map(str, seeds)) if count else ""
    return f"{count} of {len(seeds)}"


def _verdict(ours: tuple[float, float, int], bar: float, preset: Preset) -> str:
    if not ours[2]:
        return "not run"
    if ours[2] < len(preset.seeds):
        return "no bar"  # A bar is for all seeds.
    # A rival is to be beaten: the same error is a miss.
    return "met" if (ours[0] <= bar if bar else ours[0] < 0) else "missed"


def _held(
    preset: Preset, cells: Sequence[Cell]
) -> Iterator[tuple[str, str, float, str, tuple[float, float, int]]]:
    """Yields row, metric, the largest value that is met, its source and our value."""
    after, dense = errors(cells, AFTER), errors(cells, DENSE)
    for widths, bar in preset.bars.items():
        kept = "-".join(map(str, widths))
        source = BAR if kept.startswith("8") else f"{BAR}; {UNVERIFIED}"
        best = best_by_valid(preset, cells, kept)
        ours = after[kept, best] if best else NOTHING
        yield f"kept {kept}, best on valid", "test error % retrained", bar, source, ours
    if preset.dense_bar is not None:
        ours = next(iter(dense.values()), NOTHING)
        yield "dense", "test error %", preset.dense_bar, BAR, ours
    if preset.drop_bar is not None:
        for kept in preset.widths():
            yield from _falls(preset, cells, kept, preset.drop_bar)


def _falls(
    preset: Preset, cells: Sequence[Cell], kept: str, bar: float
) -> Iterator[tuple[str, str, float, str, tuple[float, float, int]]]:
    """Yields the points lost to the dense network, and to each honest rival."""
    best = best_by_valid(preset, cells, kept)
    rivals = {"dense": bar} | dict.fromkeys((RANDOM, *BASELINES), 0.0)
    for rival, most in rivals.items():
        metric = f"test error % retrained, above {rival}"
        ours = _above(cells, kept, best, rival) if best else NOTHING
        yield f"kept {kept}, best on valid", metric, most, BAR, ours


def _above(
    cells: Sequence[Cell], kept: str, best: str, rival: str
) -> tuple[float, float, int]:
    """Returns how much larger the error of `best` is, mean and sd over seeds."""
    wanted = {
        cell.seed: cell
        for cell in cells
        if (cell.stage == DENSE and rival == DENSE)
        or (cell.kept, cell.contender, cell.stage) == (kept, rival, AFTER)
    }
    gaps = [
        100 * (wanted[seed].accuracy - cell.accuracy)
        for cell in cells
        if (cell.kept, cell.contender, cell.stage) == (kept, best, AFTER)
        for seed in ([cell.seed] if cell.seed in wanted else [])
    ]
    return _summed_up(gaps) if gaps else NOTHING
