"""What a prune run has to say beside its tables."""

from __future__ import annotations

from network_pruning.jobs import limits
from network_pruning.jobs.choices import LIMITS
from network_pruning.jobs.rankings import FILE, Ranking
from network_pruning.prune_config import PruneConfig
from network_pruning.runs import RunDir


def remarks(run_dir: RunDir, config: PruneConfig) -> list[str]:
    """Returns what the tables do not: ends of sampling, ties, limits, last units.

    Returns:
        Lines, step by step.
    """
    lines = []
    if config.teacher is not None:
        lines.append(
            f"retrained towards {config.teacher}: share {config.soft_weight:g} of the "
            f"loss, temperature {config.temperature:g}"
        )
    for number in range(1, config.steps + 1):
        part = RunDir(run_dir.path / f"step-{number}")
        if part.exists(FILE):
            ranking = Ranking.load(part)
            said = [*ranking.stops(), *ranking.ties()]
            lines += [f"ranked for cut {number}: {line}" for line in said]
        if part.exists(LIMITS):
            lines.append(f"cut {number}: {limits.remark(part.read_json(LIMITS))}")
        if part.exists("plan.json"):
            said = _nothing_cut(part)
            said += _last_units(part) if config.keep is None else []
            lines += [f"cut {number}: {line}" for line in said]
    return lines


def _nothing_cut(part: RunDir) -> list[str]:
    groups = part.read_json("plan.json")["groups"]
    if any(len(group["kept"]) < group["units"] for group in groups):
        return []
    return ["nothing was cut, every unit stays: ask for more, or a smaller --round_to"]


def _last_units(part: RunDir) -> list[str]:
    return [
        f"{group['name']}: 1 of {group['units']} units stays, no layer can be emptied"
        for group in part.read_json("plan.json")["groups"]
        if len(group["kept"]) == 1 < group["units"]
    ]
