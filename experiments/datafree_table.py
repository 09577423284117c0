"""Data-free students, objective by objective: `python -m experiments.datafree_table`.

On MNIST, for both published pairs: a teacher is trained, recorded in every form, images
are made by every objective, students learn from them; baselines stand beside. Then the
best recipe, on MNIST and Fashion, and the quick net and a ResNet-20 on CIFAR-10.
Expected on one core: 2 to 6 minutes a cell, 4 for a teacher, 10 for lenet_half by the
best recipe, half an hour for the images of CIFAR-10; on MNIST hinton800 from all
layers' records at 97.1 %, by the best recipe 97.4, lenet_half 98.6.
"""

from __future__ import annotations

import datetime
import functools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from experiments import grids, ledger
from experiments.datafrees.presets import (
    BASELINES,
    FORMS,
    FURTHER,
    INITS,
    PAIRS,
    SEEDS,
    Pair,
)
from network_pruning import cli
from network_pruning.flags import check_seeds, flag
from network_pruning.runs import RunDir

if TYPE_CHECKING:
    from experiments.datafrees.cells import Key, Table

USAGE = """
Compare records and objectives of data-free compression.

  python -m experiments.datafree_table
  python -m experiments.datafree_table --pair=lenet --objectives=all_layers --seeds=0
  python -m experiments.datafree_table --procedure=publish

Stop it at any moment and type the same command: it goes on. Several processes may work
on one table. What references/cells holds is not made again.
"""


@dataclass(frozen=True)
class TableConfig:
    """Which cells, and where."""

    procedure: Literal["cells", "publish", "all"] = flag(
        "all", "Make cells, write what there is to --references_dir, or both."
    )
    pair: str | None = flag(
        None,
        f"One of {', '.join(PAIRS)}: hinton1200 and hinton800, lenet and lenet_half, "
        "quick or resnet20 and quick_student; by default all.",
    )
    objectives: tuple[str, ...] | None = flag(
        None, "Objectives, baselines, and of the best recipes prune and leakage; all."
    )
    inits: tuple[str, ...] = flag(INITS, "Starts of the weights to work on.")
    forms: tuple[str, ...] | None = flag(
        None, "Forms of records to work on; by default all."
    )
    note: str | None = flag(
        None, "Said of all numbers of --pair from now on, say: from a JPEG copy."
    )
    seeds: tuple[int, ...] = flag(
        SEEDS, "The first with every form, others with the best on valid alone."
    )
    output_dir: str = flag("results", "Folder of all runs.")
    references_dir: str = flag("references", "Folder of the ledger and the tables.")

    def __post_init__(self) -> None:
        """Judges every value.

        Raises:
            ValueError: In one line, for the first unfit value.
        """
        check_seeds(self.seeds)
        forms = sorted({form for of_one in FORMS.values() for form in of_one})
        if self.pair not in (None, *PAIRS):
            raise ValueError(
                f"pair: got {self.pair!r}, expected one of {', '.join(PAIRS)}"
            )
        if self.note is not None and self.pair is None:
            raise ValueError("note: got one, expected --pair, whose data it tells of")
        for name, known in (
            ("objectives", (*FORMS, *BASELINES, *FURTHER)),
            ("inits", INITS),
            ("forms", forms),
        ):
            for value in getattr(self, name) or ():
                if value not in known:
                    raise ValueError(
                        f"{name}: got {value!r}, expected some of {', '.join(known)}"
                    )
        asked = [PAIRS[name] for name in PAIRS if self.pair in (None, name)]
        if self.procedure != "publish" and not any(_has(pair, self) for pair in asked):
            raise ValueError(
                f"pair: got {self.pair or 'all'}, which has no cell of these flags, "
                f"expected of it {_offer(asked[0])}; seeds but {SEEDS[0]} begin from "
                f"{INITS[0]} alone"
            )


def _has(pair: Pair, config: TableConfig) -> bool:
    """Returns whether a pair has cells or findings of what is asked for."""
    inits = INITS if SEEDS[0] in config.seeds else INITS[:1]
    starts = {*inits} & {*config.inits} & {*pair.inits}
    forms = {
        form
        for objective in _chosen((*pair.objectives, *pair.baselines), config)
        for form in pair.forms(objective)
        if objective in BASELINES or form in (config.forms or (form,))
    }
    return bool(starts and forms) or bool(_chosen(pair.further, config))


def _chosen(known: Iterable[str], config: TableConfig) -> list[str]:
    return [name for name in known if name in (config.objectives or (name,))]


def _offer(pair: Pair) -> str:
    objectives = (*pair.objectives, *pair.baselines, *pair.further)
    forms = dict.fromkeys(form for name in pair.objectives for form in pair.forms(name))
    return (
        f"objectives {', '.join(objectives)}, forms {', '.join(forms)}, starts "
        f"{', '.join(pair.inits)}"
    )


def check(config: TableConfig) -> None:
    """Judges whether images, and teachers trained elsewhere, can be had.

    Raises:
        ValueError: If not.
    """
    import data

    if config.procedure != "publish":
        for name, pair in PAIRS.items():
            if config.pair in (None, name):
                data.check_available(pair.dataset)
                _check_trained(name, pair)


def _check_trained(name: str, pair: Pair) -> None:
    if pair.trained is not None and not Path(pair.trained.path).is_file():
        raise ValueError(
            f"pair: got {name}, expected its teacher at {pair.trained.path}: start the "
            "command in the folder of this project"
        )


def work(config: TableConfig) -> None:
    """Makes cells, and publishes them."""
    import data
    import models

    run(config, functools.lru_cache(maxsize=1)(data.load), models.build)


def run(config: TableConfig, load: Any, build: Any) -> None:
    """Makes cells, and publishes them.

    Args:
        config: Which.
        load: `data.load`.
        build: `models.build`.
    """
    from experiments.datafrees.cells import FINDINGS, Cell, Finding, Table

    references = RunDir(config.references_dir)
    tables = {}
    notes = {}
    for name, pair in PAIRS.items():
        folder = f"datafree-{name}-{pair.digest()}"
        own = RunDir(Path(config.output_dir) / folder)
        table = tables[name] = Table(pair, own, load, build)
        published = f"cells/{folder}"
        table.grid.adopt(grids.read(Cell, references, f"{published}.csv"))
        said = grids.read(Finding, references, f"{published}-{FINDINGS}.csv")
        table.findings.adopt(said)
        given = config.note if config.pair == name else None
        notes[name] = ledger.kept_note(references, folder, given)
        if config.procedure != "publish" and config.pair in (None, name):
            table.fill(wanted(table, config))
            table.look_further(further(table, config))
    if config.procedure != "cells":
        publish(tables, references, notes)


def wanted(table: Table, config: TableConfig) -> Iterator[Key]:
    """Yields the cells to make.

    Every form with the first seed; with the others the best on the validation split
    alone, from the initialisation that the bars are about.
    """
    from experiments.datafrees.summary import best_form

    pair = table.pair
    for seed in config.seeds:
        for init in (init for init in config.inits if init in pair.inits):
            for objective in _chosen((*pair.objectives, *pair.baselines), config):
                forms = pair.forms(objective)
                if seed != SEEDS[0]:
                    best = best_form(table.cells.values(), objective)
                    forms = (best or forms[0],) if init == INITS[0] else ()
                for form in forms:
                    if objective in BASELINES or form in (config.forms or (form,)):
                        yield objective, init, form, seed


def further(table: Table, config: TableConfig) -> Iterator[tuple[str, int]]:
    """Yields procedure and seed of the findings to make."""
    for seed in config.seeds:
        for procedure in _chosen(table.pair.further, config):
            yield procedure, seed


def publish(
    tables: Mapping[str, Table], references: RunDir, notes: Mapping[str, str]
) -> None:
    """Writes the page, the cells and the ledger's lines.

    Args:
        tables: By pair.
        references: Where they go.
        notes: What is said of the data of a pair, where something is.
    """
    from experiments.datafrees import summary
    from experiments.datafrees.cells import FINDINGS, Cell, Finding

    today = datetime.date.today().isoformat()
    cells = {name: list(table.cells.values()) for name, table in tables.items()}
    said = {name: list(t.findings.cells().values()) for name, t in tables.items()}
    for name, table in tables.items():
        if cells[name]:
            published = f"cells/{table.run.path.name}.csv"
            references.write_text(published, grids.text(Cell, cells[name]))
        if said[name]:
            published = f"cells/{table.run.path.name}-{FINDINGS}.csv"
            references.write_text(published, grids.text(Finding, said[name]))
        note = notes[name]
        lines = summary.ledger_lines(name, table.pair, cells[name], today, note)
        lines += summary.finding_rows(name, table.pair, said[name], today, note)
        ledger.record(references, lines)
    page = summary.markdown(cells, said, today, notes)
    references.write_text("datafree.md", page)
    print(page)


if __name__ == "__main__":
    cli.run(TableConfig, work, USAGE, check)
