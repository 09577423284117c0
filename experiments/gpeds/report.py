"""The page of a chain: its table, and what its diagnosis says."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from experiments.benchmarks.table import markdown_of
from experiments.gpeds import calibration, diagnostics
from experiments.gpeds.config import GpedConfig
from experiments.gpeds.diagnostics import Diagnosis
from experiments.gpeds.rows import Row
from network_pruning.runs import RunDir

REPORT = "report.md"
SHOWN = ("nll", "accuracy", "ece", "entropy_mae", "kl", "params", "macs")
NAMES = ("stage", "name", *SHOWN)


def said_of(diagnosis: Diagnosis) -> str:
    """Returns a diagnosis as one line."""
    count = len(diagnosis.chains)
    many = "1 chain, its halves" if count == 1 else f"{count} chains"
    return (
        f"split R-hat {shown(diagnosis.rhat)} of the NLL on held-out images: {many}, "
        f"{diagnosis.chains[0].draws} draws each; near 1 the start is forgotten"
    )


def write(
    config: GpedConfig,
    measured: Sequence[Row],
    diagnosis: Diagnosis | None,
    run: RunDir,
) -> None:
    """Writes report.md.

    Args:
        config: Of the chain.
        measured: Its teacher and its students.
        diagnosis: If there is one.
        run: Its folder.
    """
    lines = [
        f"# Posterior expectations of {config.teacher}, distilled",
        "",
        f"{config.steps:,} steps on {config.dataset}; on the test split, in nats.",
        "",
        _table(NAMES, ([getattr(row, name) for name in NAMES] for row in measured)),
        "Confidence and accuracy of those that predict:",
        "",
        f"![Reliability]({calibration.FIGURE})",
        "",
        *_diagnosed(diagnosis),
        "```json",
        json.dumps(config.as_dict(), indent=2),
        "```",
    ]
    run.write_text(REPORT, "\n".join(lines) + "\n")


def _diagnosed(diagnosis: Diagnosis | None) -> list[str]:
    if diagnosis is None:
        return []
    names = ("chain", "seed", "draws", "nll", "sd", "ensemble_nll")
    rows = (
        [str(chain.seed) if name == "seed" else getattr(chain, name) for name in names]
        for chain in diagnosis.chains
    )
    return [
        "## Chains",
        "",
        f"{said_of(diagnosis)}. Students learn from chain 0.",
        "",
        _table(names, rows),
        f"![Traces]({diagnostics.FIGURE})",
        "",
    ]


def _table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    return markdown_of(header, [[shown(value) for value in row] for row in rows])


def shown(value: Any) -> str:
    """Returns a value as tables show it."""
    if isinstance(value, float):
        return "-" if value != value else f"{value:.4f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
