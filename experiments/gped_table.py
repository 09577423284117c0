"""Chains beside the published tables: `python -m experiments.gped_table`.

Each row is one chain with students of the predictive mean and of the entropy under both
estimators. Expected of gped_fc: about 150 steps a second on one shared core (AVX2), two
hours for a row of 1e6; the convolutional rows take longer.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from experiments import grids, ledger
from experiments.gpeds import tables
from experiments.gpeds.config import GpedConfig
from network_pruning import cli
from network_pruning.flags import (
    check_above,
    check_seeds,
    check_share,
    fields_of,
    flag,
)
from network_pruning.runs import RunDir

USAGE = """
Fill the published tables of posterior distillation, chain by chain.

  python -m experiments.gped_table
  python -m experiments.gped_table --rows=fc-60k-0,fc-10k-15 --seeds=0,1,2
  python -m experiments.gped_table --rows=fc-60k-0 --student_dropout=0.5
  python -m experiments.gped_table --procedure=publish

Stop it at any moment and type the same command: it goes on. Several processes may work
on it, each on other rows. What references/cells holds is not made again.
"""
ROWS = ("fc-60k-0", "fc-10k-15", "fc-60k-15", "fc-10k-0")
CELLS = "cells/gped.csv"


@dataclass(frozen=True)
class TableConfig:
    """Which rows, how long, and where."""

    procedure: Literal["chains", "publish", "all"] = flag(
        "all", "Walk chains, write what there is to --references_dir, or both."
    )
    rows: tuple[str, ...] = flag(
        ROWS, "Network, training images, side of the missing square: as in cnn-60k-15."
    )
    targets: tuple[str, ...] = flag(
        tables.TARGETS, "What students learn: predictive, entropy."
    )
    iterations: int = flag(tables.FULL, "Steps of each chain; the published are 1e6.")
    student_dropout: float = flag(
        0.0, "Dropout rate of the students; the published ones of fc have .5."
    )
    seeds: tuple[int, ...] = flag((0,), "A chain for each.")
    output_dir: str = flag("results", "Folder of all runs.")
    references_dir: str = flag("references", "Folder of the ledger and the table.")

    def __post_init__(self) -> None:
        """Judges every value.

        Raises:
            ValueError: In one line, for the first unfit value.
        """
        for name, known in (("rows", tables.row_names()), ("targets", tables.TARGETS)):
            unknown = [word for word in getattr(self, name) if word not in known]
            if unknown:
                raise ValueError(
                    f"{name}: got {', '.join(unknown)}, expected some of "
                    f"{', '.join(known)}"
                )
        check_seeds(self.seeds)
        check_above(fields_of(self, "iterations"))
        check_share(fields_of(self, "student_dropout"), high=")")

    def chains(self) -> list[tuple[str, GpedConfig]]:
        """Returns rows and their chains, the first seed of all rows first."""
        return [
            (row, self._chain(row, seed)) for seed in self.seeds for row in self.rows
        ]

    def _chain(self, row: str, seed: int) -> GpedConfig:
        ours = self.targets, self.iterations, seed, self.output_dir
        return tables.chain_of(row, *ours, self.student_dropout)


def check(config: TableConfig) -> None:
    """Judges whether the images can be had.

    Raises:
        ValueError: If not.
    """
    import data

    if config.procedure != "publish":
        for _, chain in config.chains():
            data.check_available(chain.dataset)


def work(config: TableConfig) -> None:
    """Walks chains, and publishes them."""
    import data
    import models

    run(config, data.load, models.build)


def run(config: TableConfig, load: Any, build: Any) -> None:
    """Walks chains, and publishes them.

    Args:
        config: Which.
        load: `data.load`.
        build: `models.build`.
    """
    from experiments import gped

    references = RunDir(config.references_dir)
    published = grids.read(tables.Cell, references, CELLS)
    cells = {cell.key: cell for cell in published}
    for row, chain in config.chains():
        if config.procedure != "publish" and not _is_known(cells, row, chain):
            gped.run(chain, load, build)
        cells |= {cell.key: cell for cell in finished(row, chain)}
    if config.procedure != "chains":
        publish(list(cells.values()), references)


def _is_known(cells: Any, row: str, chain: GpedConfig) -> bool:
    wanted = [
        f"{tables.COLUMNS[target]} {word}"
        for target in chain.target
        for word in chain.estimator
    ]
    which = row, chain.steps, chain.student_dropout
    keys = [(*which, metric, chain.seed) for metric in wanted]
    return all(key in cells for key in keys)


def finished(row: str, chain: GpedConfig) -> list[tables.Cell]:
    """Returns the numbers of a chain; none while it is not finished."""
    from experiments.gpeds import distill
    from experiments.gpeds.rows import Row

    run = RunDir(distill.folder_of(chain))
    if not run.exists(distill.DONE):
        return []
    measured = grids.read(Row, run, distill.RESULTS, required=True)
    return tables.cells_of(row, chain, measured)


def publish(cells: Sequence[tables.Cell], references: RunDir) -> None:
    """Writes the page, the cells and the ledger's lines."""
    today = datetime.date.today().isoformat()
    references.write_text(CELLS, grids.text(tables.Cell, cells))
    text = tables.markdown(cells, today)
    references.write_text("posterior_mnist.md", text)
    ledger.record(references, tables.ledger_lines(cells, today))
    print(text)


if __name__ == "__main__":
    cli.run(TableConfig, work, USAGE, check)
