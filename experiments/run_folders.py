"""What a finished run folder says: its rows, and the day it was finished."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from network_pruning.configs import SweepConfig
from network_pruning.evaluation.rows import KINDS, Row, read_rows
from network_pruning.runs import RunDir


@dataclass(frozen=True)
class Finished:
    """A run that has come to its end.

    Attributes:
        rows: Of rows.csv.
        date: yyyy-mm-dd, when it last ended.
    """

    rows: tuple[Row, ...] = ()
    date: str = ""


def folder_of(config: SweepConfig) -> Path:
    """Returns where the run of a config is, or would be."""
    return Path(config.output_dir) / config.run_id()


def read_finished(config: SweepConfig) -> Finished:
    """Reads a run.

    Returns:
        Its rows; none unless it has a manifest, which is written last.

    Raises:
        DamagedFile: If a file is not what was written.
    """
    if not (folder_of(config) / "manifest.json").exists():
        return Finished()
    run = RunDir(folder_of(config))
    try:
        date = run.read_json("manifest.json")["finished"][-1][:10]
    except (KeyError, IndexError, TypeError):
        raise run.damaged("manifest.json", "expected times under finished") from None
    try:
        return Finished(tuple(read_rows(run.read_text("rows.csv"))), date)
    except ValueError as error:
        raise run.damaged("rows.csv", str(error)) from None


def is_complete(config: SweepConfig) -> bool:
    """Returns whether every network that a config asks for has been measured."""
    known = {(row.seed, row.sparsity, row.kind) for row in read_finished(config).rows}
    return known >= {
        (seed, k, kind)
        for seed in config.seeds
        for k in config.k_vals
        for kind in KINDS
    }
