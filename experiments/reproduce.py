"""Published tables, ours beside them: `python -m experiments.reproduce --table=all`.

Without flags it lists the tables with their expected minutes. A table is made from its
preset; what its run folders hold already is not made again. It prints ours beside the
published, writes `sweep_<table>.md` and puts the verdicts into `ledger.csv`, both under
references/. Expected: 200 CPU seconds a training, 130 for measuring its three seeds;
four cells "missed", all of them units of fashion under l1.
"""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass

from experiments import ledger, sweep, views
from experiments.cells import compare
from experiments.run_folders import folder_of, is_complete, read_finished
from experiments.tables import TABLES, Table
from network_pruning import cli
from network_pruning.flags import flag
from network_pruning.runs import RunDir

log = logging.getLogger(__name__)

USAGE = """
Make published tables anew and set ours beside them.

  python -m experiments.reproduce
  python -m experiments.reproduce --table=digits-none --figures
  python -m experiments.reproduce --table=all --only_collect

Stop it at any moment and type the same command: it goes on.
"""

FIGURES = (
    "figures/loss_accuracy.png",
    "figures/pruned_loss_accuracy.png",
    "figures/accuracy_cost.png",
    "figures/pruned_weights.gif",
    "figures/pruned_units.gif",
    "results.csv",
)


@dataclass(frozen=True)
class ReproduceConfig:
    """Which tables to make, and where."""

    table: str | None = flag(
        None, "A table by name, or all; without it the tables are listed."
    )
    only_collect: bool = flag(
        False, "Train nothing: read the run folders that are finished."
    )
    figures: bool = flag(
        False, "Copy the figures of the tables without penalty as well."
    )
    output_dir: str = flag("results", "Folder of all runs.")
    references_dir: str = flag("references", "Folder of the ledger and the tables.")

    def __post_init__(self) -> None:
        """Judges every value.

        Raises:
            ValueError: If there is no such table.
        """
        self.tables()

    def tables(self) -> list[Table]:
        """Returns the tables that are asked for."""
        return [TABLES[name] for name in sweep.choose(self.table, TABLES, "table")]


def check(config: ReproduceConfig) -> None:
    """Without a table, lists the tables and ends.

    Raises:
        SystemExit: After the list.
    """
    if config.table is None:
        for table in TABLES.values():
            print(listed(table, config.output_dir))
        sys.exit(0)


def listed(table: Table, output_dir: str) -> str:
    """Returns what there is to know of a table before it is made."""
    states = []
    for monitor in table.monitors:
        done = is_complete(table.config(monitor, output_dir))
        states.append(f"{monitor} {'complete' if done else 'to do'}")
    return (
        f"--table={table.name}\n    {table.about}\n"
        f"    about {table.minutes} minutes; {', '.join(states)}"
    )


def work(config: ReproduceConfig) -> None:
    """Makes the tables one after another."""
    for table in config.tables():
        if not config.only_collect:
            make(table, config.output_dir)
        print(report(table, config.output_dir, RunDir(config.references_dir)))
        if config.figures and table.figures is not None:
            copy_figures(table, config.output_dir, config.references_dir)


def make(table: Table, output_dir: str) -> None:
    """Runs what of a table is missing."""
    for monitor in table.monitors:
        each = table.config(monitor, output_dir)
        if not is_complete(each):
            sweep.run(each)


def report(table: Table, output_dir: str, references: RunDir) -> str:
    """Writes a table's ledger rows and its page.

    Args:
        table: Which table.
        output_dir: Folder of its runs.
        references: Where ledger and pages are.

    Returns:
        The table as text for the terminal.
    """
    runs = {
        monitor: read_finished(table.config(monitor, output_dir))
        for monitor in table.monitors
    }
    cells = {
        monitor: compare(table, monitor, run.rows) for monitor, run in runs.items()
    }
    dates = {monitor: run.date for monitor, run in runs.items()}
    for monitor, run in runs.items():
        lines = ledger.collect(table, monitor, run.rows, run.date)
        ledger.record(references, lines)
    if any(dates.values()):
        references.write_text(
            f"sweep_{table.name}.md", views.markdown(table, cells, dates)
        )
    return f"{table.name}: {table.about}\n\n{views.terminal(cells)}\n"


def copy_figures(table: Table, output_dir: str, references_dir: str) -> None:
    """Copies the figures of a table's first run to its folder under references/.

    Raises:
        ValueError: If the run is not complete.
    """
    config = table.config(table.monitors[0], output_dir)
    if table.figures is None or not is_complete(config):
        raise ValueError(
            f"figures: {folder_of(config)} holds no finished run: make it with "
            f"{table.command()}"
        )
    target = RunDir(f"{references_dir}/{table.figures}")
    for name in FIGURES:
        content = (folder_of(config) / name).read_bytes()
        target.write_bytes(name.removeprefix("figures/"), content)
    log.info("figures of %s copied to %s", table.name, target.path)


if __name__ == "__main__":
    cli.run(ReproduceConfig, work, USAGE, check)
