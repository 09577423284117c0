"""The procedures by name: each does its part and says what it has found."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from experiments.gpeds import calibration, diagnostics, prune, report, strangers
from experiments.gpeds import distill as chains
from experiments.gpeds import search as searches
from experiments.gpeds.config import GpedConfig
from experiments.gpeds.networks import Build
from experiments.gpeds.report import SHOWN, shown
from experiments.gpeds.rows import Row
from experiments.gpeds.sets import Sets
from experiments.grids import read

Procedure = Callable[[GpedConfig, Sets, Build], str]


def distill(config: GpedConfig, sets: Sets, build: Build) -> str:
    """Returns the table of the chain, which is walked to its end, and others' R-hat."""
    run = chains.distill(config, sets, build)
    measured = read(Row, run, chains.RESULTS, required=True)
    diagnosis = diagnostics.diagnose(config, sets, build, run)
    calibration.write(calibration.of_chain(config, sets, run), sets.test[1], run)
    report.write(config, measured, diagnosis, run)
    said = "" if diagnosis is None else f"\n\n{report.said_of(diagnosis)}"
    return f"{table(measured)}{said}\n\nin {run.path}"


def prune_finetune(config: GpedConfig, sets: Sets, build: Build) -> str:
    """Returns the table of pruned and fine-tuned students."""
    measured, run = prune.prune_finetune(config, sets, build)
    return f"{table(measured)}\n\nin {run.path}"


def search(config: GpedConfig, sets: Sets, build: Build) -> str:
    """Returns the front of the searched architectures."""
    tried, run = searches.search(config, sets, build)
    front = [each for each in tried if each.front]
    return f"{len(tried)} tried, the front:\n{_listed(front)}\n\nin {run.path}"


def ood(config: GpedConfig, sets: Sets, build: Build) -> str:
    """Returns how well each contender finds strangers."""
    found, run = strangers.find(config, sets, build)
    return f"{_listed(found)}\n\nin {run.path}"


def rank_uncertainty(config: GpedConfig, sets: Sets, build: Build) -> str:
    """Returns how well students rank test images by the ensemble's uncertainty."""
    del build
    found, run = strangers.rank(config, sets)
    return f"{_listed(found)}\n\nin {run.path}"


def table(measured: Sequence[Row]) -> str:
    """Returns rows side by side, as text."""
    header = ["stage", "name", *SHOWN]
    return _aligned(
        header, [[getattr(row, name) for name in header] for row in measured]
    )


def _listed(found: Sequence[Any]) -> str:
    header = [field.name for field in dataclasses.fields(found[0])]
    return _aligned(header, [list(dataclasses.astuple(each)) for each in found])


def _aligned(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = [list(header), *([shown(value) for value in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(word.rjust(width) for word, width in zip(line, widths, strict=True))
        for line in lines
    )


PROCEDURES: Mapping[str, Procedure] = {
    "distill": distill,
    "prune_finetune": prune_finetune,
    "search": search,
    "ood": ood,
    "rank_uncertainty": rank_uncertainty,
}
"""Name -> procedure."""
