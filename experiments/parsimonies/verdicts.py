"""Lines of the ledger: ours, what was published, and whether our bars are met."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.ledger import NEVER, LedgerRow, measured
from experiments.parsimonies.presets import KINDS, NUM_VALID, SEEDS, SETTLED
from experiments.published import FOLDER
from network_pruning.evaluation.metrics import per_seed

ACCURACY = "accuracy"
GAIN = 0.02
"""By which every kind of clustering should beat the baseline's test accuracy."""
BARRED = tuple(
    f"CIFAR10_{kind}_{setting}" for kind in KINDS for setting in ("clustering", "found")
)
Found = Mapping[tuple[str, str], Mapping[int, float]]
"""(Preset, metric) -> value by seed."""


def read_published() -> dict[tuple[str, str], tuple[str, str]]:
    """Returns (preset, metric) -> the published value, and where it comes from."""
    with open(FOLDER / "parsimonious.csv", encoding="utf-8", newline="") as file:
        return {
            (line["setting"], line["metric"]): (line["value"], line["provenance"])
            for line in csv.DictReader(file)
        }


def length(settings: Mapping[str, Any]) -> str:
    """Returns how long a training was, and on which images, in words.

    Trainings of one length, preset and seed are the same training.
    """
    told = f"{settings['epochs']} epochs"
    if (count := settings.get("num_train")) is not None:
        told += f" of {count} images"
    if (batch := settings["batch_size"]) != SETTLED["batch_size"]:
        told += f" in batches of {batch}"
    if (valid := settings["num_valid"]) != NUM_VALID:
        told += f", {valid} select"
    return told


def length_flags(settings: Mapping[str, Any]) -> str:
    """Returns the flags that say `length`."""
    told = f"--epochs={settings['epochs']} --num_valid={settings['num_valid']}"
    if (count := settings.get("num_train")) is not None:
        told += f" --num_train={count}"
    if (batch := settings["batch_size"]) != SETTLED["batch_size"]:
        told += f" --batch_size={batch}"
    return told


def ledger_lines(found: Found, length: str, flags: str, date: str) -> list[LedgerRow]:
    """Returns a line for each number there is, and for each published of its data.

    Args:
        found: Of trainings of one length.
        length: In words.
        flags: That say it.
        date: Of today.
    """
    published = read_published()
    data = {_data(preset) for preset, _ in found}
    wanted = {key for key in published if _data(key[0]) in data}
    lines = []
    for preset, metric in sorted({*found, *wanted}):
        value, provenance = published.get((preset, metric), ("", NEVER))
        by_seed = found.get((preset, metric), {})
        lines.append(
            LedgerRow(
                system="parsimonious",
                table=f"{_data(preset)}, {length}",
                row=preset,
                metric=metric,
                published=value,
                provenance=provenance,
                command=f"python -m experiments.parsimonious --preset={preset} {flags}",
                verdict=verdict(found, preset, metric),
                **measured(by_seed, date),
            )
        )
    return lines


def verdict(found: Found, preset: str, metric: str) -> str:
    """Returns met, missed, no bar or not run.

    A kind of clustering has two bars, once three seeds of it and of the baseline are
    there: two points of test accuracy above it, and an NMI that is higher by more than
    both standard deviations together.

    Args:
        found: All numbers.
        preset: Of the number.
        metric: Likewise.
    """
    mine, base = (
        list(found.get((name, metric), {}).values())
        for name in (preset, f"{_data(preset)}_baseline")
    )
    if not mine:
        return "not run"
    has_bar = preset in BARRED and (metric == ACCURACY or metric.startswith("nmi "))
    if not has_bar or min(len(mine), len(base)) < len(SEEDS):
        return "no bar"
    (mean, sd), (base_mean, base_sd) = _mean_sd(mine), _mean_sd(base)
    gain = mean - base_mean
    enough = gain >= GAIN - 1e-9 if metric == ACCURACY else gain > sd + base_sd
    return "met" if enough else "missed"


def _data(preset: str) -> str:
    """Returns what a preset's id begins with: CIFAR10 or CIFAR100."""
    return preset.split("_")[0]


def _mean_sd(values: Sequence[float]) -> tuple[float, float]:
    if not values:
        return math.nan, math.nan
    mean, sd = per_seed(values)
    return float(mean), float(sd)
