"""The tables that `python -m experiments.reproduce` knows: preset, published, bars."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from experiments.published import Published, read_sweep
from experiments.sweep import DATASETS, PENALTIES, PRESETS, SEEDS
from network_pruning.configs import SweepConfig

MONITORS = ("val_loss", "val_accuracy")


@dataclass(frozen=True)
class Table:
    """One table of a system: what makes it, and what it is held against.

    Attributes:
        name: As in --table.
        about: What it is, in a line.
        minutes: Expected on two cores, from nothing.
        flags: Of the main job, those that are not at their defaults.
        monitors: One run folder each.
        metrics: Fields of the rows that are compared.
        published: Every published number of this table.
        bars: Least mean accuracy by (kind, k), where this project sets its own.
        dense_bar: Least mean accuracy of the dense networks.
        figures: Folder under references/ for its figures.
    """

    name: str
    about: str
    minutes: int
    flags: Mapping[str, Any]
    monitors: tuple[str, ...] = MONITORS
    metrics: tuple[str, ...] = ("accuracy", "loss")
    published: tuple[Published, ...] = ()
    bars: Mapping[tuple[str, float], float] = field(default_factory=dict)
    dense_bar: float | None = None
    figures: str | None = None

    def config(self, monitor: str, output_dir: str = "results") -> SweepConfig:
        """Returns the config of the run that makes it under a monitor."""
        flags: dict[str, Any] = {"seeds": SEEDS, **self.flags, "monitor": monitor}
        return SweepConfig(**flags, output_dir=output_dir)

    def command(self) -> str:
        """Returns the command that makes it."""
        return f"python -m experiments.reproduce --table={self.name}"


DENSE_BARS = {"digits": 0.977, "fashion": 0.882}
FINETUNE_BARS = {
    "digits": {("weight", 0.99): 0.975, ("unit", 0.8): 0.978, ("unit", 0.9): 0.970},
    "fashion": {("weight", 0.95): 0.880, ("unit", 0.8): 0.875},
}


def _sweep_table(dataset: str, penalty: str) -> Table:
    name = f"{dataset}-{penalty}"
    published = tuple(
        each
        for each in read_sweep()
        if (each.dataset, each.setting) == (dataset, penalty)
    )
    known = "published" if published else "never published"
    how = "without penalty" if penalty == "none" else f"penalty {penalty}"
    return Table(
        name,
        f"{dataset}, {how}: weights and units pruned, one shot ({known})",
        minutes=20,
        flags=PRESETS[name],
        published=published,
        dense_bar=DENSE_BARS[dataset] if penalty == "none" else None,
        figures=dataset if penalty == "none" else None,
    )


def _finetune_table(dataset: str) -> Table:
    name = f"{dataset}-finetune"
    return Table(
        name,
        f"{dataset}, without penalty, retrained after each cut (never published)",
        minutes=30,
        flags=PRESETS[name],
        monitors=("val_loss",),
        metrics=("accuracy", "accuracy_one_shot", "loss"),
        bars=FINETUNE_BARS[dataset],
    )


_ALL = [
    *(_sweep_table(dataset, penalty) for penalty in PENALTIES for dataset in DATASETS),
    *(_finetune_table(dataset) for dataset in DATASETS),
]
TABLES: Mapping[str, Table] = {table.name: table for table in _ALL}
