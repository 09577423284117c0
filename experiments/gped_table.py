"""Chains beside the published tables: `python -m experiments.gped_table`.

Each row is one chain with students of the predictive mean and of the entropy under both
estimators; with --ood also what its uncertainties are good for. Seen of gped_fc on one
core beside other jobs: 330 to 420 steps a second with students of the mean alone (41
minutes for a row of 1e6), 150 to 210 with those of the entropy, too; the convolutional
rows take longer.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from experiments import grids, ledger
from experiments.gpeds import tables
from experiments.gpeds.config import GpedConfig
from experiments.gpeds.settings import FULL, Setting
from experiments.gpeds.words import TELLING
from network_pruning import cli
from network_pruning.flags import check_seeds, fields_of, flag
from network_pruning.ranges import check_above, check_share
from network_pruning.runs import RunDir

if TYPE_CHECKING:
    from experiments.gpeds.uses import Use

USAGE = """
Fill the published tables of posterior distillation, chain by chain.

  python -m experiments.gped_table
  python -m experiments.gped_table --rows=fc-60k-0,fc-10k-15 --seeds=0,1,2
  python -m experiments.gped_table --rows=fc-60k-0 --student_dropout=0.5
  python -m experiments.gped_table --rows=fc-60k-15 --targets=both,dirichlet \\
    --ood=fashion,path/to/notmnist --thin=10
  python -m experiments.gped_table --procedure=publish

Stop it at any moment and type the same command: it goes on. Several processes may work
on it, each on other rows. What references/cells holds is not made again.
"""
ROWS = ("fc-60k-0", "fc-10k-15", "fc-60k-15", "fc-10k-0")
TARGETS = (*tables.TARGETS, *TELLING)
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
        tables.TARGETS,
        "What students learn: predictive, entropy; both and dirichlet (EnD2), which "
        "--ood needs.",
    )
    iterations: int = flag(FULL, "Steps of each chain; the published are 1e6.")
    thin: int | None = flag(
        None,
        "Steps from one lesson of a student to the next; by default 10 of those of "
        "the entropy, 100 of others.",
    )
    student_dropout: float = flag(
        0.0, "Dropout rate of the students; the published ones of fc have .5."
    )
    ood: tuple[str, ...] = flag(
        (), "Out-of-distribution sets, by name or path, for AUROC and nDCG@20."
    )
    seeds: tuple[int, ...] = flag((0,), "A chain for each.")
    output_dir: str = flag("results", "Folder of all runs.")
    references_dir: str = flag("references", "Folder of the ledger and the table.")

    def __post_init__(self) -> None:
        """Judges every value.

        Raises:
            ValueError: In one line, for the first unfit value.
        """
        for name, known in (("rows", tables.row_names()), ("targets", TARGETS)):
            unknown = [word for word in getattr(self, name) if word not in known]
            if unknown:
                raise ValueError(
                    f"{name}: got {', '.join(unknown)}, expected some of "
                    f"{', '.join(known)}"
                )
        telling = [name for name in self.targets if name in TELLING]
        if telling and not self.ood:
            raise ValueError(
                f"targets: got {telling[0]} without --ood, expected both of them: what "
                "its students tell is measured on strangers"
            )
        if self.ood and not telling:
            raise ValueError(
                f"targets: got {','.join(self.targets)} with --ood, expected "
                f"{' or '.join(TELLING)} among them: others tell no knowledge "
                "uncertainty"
            )
        check_seeds(self.seeds)
        check_above(fields_of(self, "iterations", "thin"))
        check_share(fields_of(self, "student_dropout"), high=")")

    def chains(self) -> list[tuple[str, GpedConfig]]:
        """Returns rows and their chains, the first seed of all rows first."""
        return [
            (row, self._chain(row, seed)) for seed in self.seeds for row in self.rows
        ]

    def _chain(self, row: str, seed: int) -> GpedConfig:
        how = Setting(self.iterations, self.student_dropout, self.thin or 0)
        return tables.chain_of(row, self.targets, how, seed, self.output_dir, self.ood)


def check(config: TableConfig) -> None:
    """Judges whether the images can be had.

    Raises:
        ValueError: If not.
    """
    import data

    if config.procedure != "publish":
        for _, chain in config.chains():
            data.check_available(chain.dataset)
        for name in config.ood:
            cli.check_named("ood", data.check_available, name)


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
    from experiments.gpeds import uses

    references = RunDir(config.references_dir)
    cells = {cell.key: cell for cell in grids.read(tables.Cell, references, CELLS)}
    used = {use.key: use for use in grids.read(uses.Use, references, uses.CELLS)}
    made: list[tables.Cell] = []
    told: list[Use] = []
    for row, chain in config.chains():
        known = tables.is_known(cells, row, chain) and uses.is_known(used, row, chain)
        if config.procedure != "publish" and not known:
            for procedure in ("distill", *(uses.PROCEDURES if chain.ood else ())):
                gped.run(dataclasses.replace(chain, procedure=procedure), load, build)
        made += finished(row, chain)
        told += uses.uses_of(row, chain)
    if config.procedure != "chains":
        publish(made, told, references)


def finished(row: str, chain: GpedConfig) -> list[tables.Cell]:
    """Returns the numbers of a chain; none while it is not finished."""
    from experiments.gpeds import distill
    from experiments.gpeds.rows import Row

    folder = distill.folder_of(chain)
    if not (folder / distill.DONE).exists():
        return []
    run = RunDir(folder)
    measured = grids.read(Row, run, distill.RESULTS, required=True)
    return tables.cells_of(row, chain, measured)


def publish(
    made: Sequence[tables.Cell], told: Sequence[Use], references: RunDir
) -> None:
    """Writes cells beside those that were published, the pages, the ledger's lines."""
    from experiments.gpeds import uses

    today = datetime.date.today().isoformat()
    cells = grids.merge(tables.Cell, references, CELLS, made)
    used = grids.merge(uses.Use, references, uses.CELLS, told)
    pages = {"posterior_mnist.md": tables.markdown(cells, today)}
    if used:
        pages[uses.PAGE] = uses.markdown(used, today)
    for name, text in pages.items():
        references.write_text(name, text)
        print(text)
    lines = [*tables.ledger_lines(cells, today), *uses.ledger_lines(used, today)]
    ledger.record(references, lines)


if __name__ == "__main__":
    cli.run(TableConfig, work, USAGE, check)
