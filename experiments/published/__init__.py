"""Published numbers, one csv a system, each with its provenance."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Published:
    """One number of a published table.

    Attributes:
        system: sweep.
        dataset: digits or fashion.
        setting: none, l1=1e-3 or l2=1e-2: the penalty on hidden kernels.
        run: first or second where two runs were published, else only.
        k: Fraction pruned, in [0, 1).
        kind: weight or unit.
        metric: accuracy or loss (penalty included), on the test split.
        value: The number.
        provenance: Repository, commit, and what was mended.
    """

    system: str
    dataset: str
    setting: str
    run: str
    k: float
    kind: str
    metric: str
    value: float
    provenance: str


def read_sweep() -> tuple[Published, ...]:
    """Returns the published tables of the sweep, in the order of the file."""
    with open(FOLDER / "sweep.csv", encoding="utf-8", newline="") as file:
        return tuple(_parse(line) for line in csv.DictReader(file))


def read_datafree() -> dict[tuple[str, str], tuple[float, str]]:
    """Returns (pair, objective or baseline) -> accuracy in percent, and provenance."""
    with open(FOLDER / "datafree.csv", encoding="utf-8", newline="") as file:
        return {
            (line["pair"], line["objective"]): (
                float(line["value"]),
                line["provenance"],
            )
            for line in csv.DictReader(file)
        }


def _parse(line: dict[str, str]) -> Published:
    k, value = float(line.pop("k")), float(line.pop("value"))
    return Published(k=k, value=value, **line)
