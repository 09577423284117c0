"""Which units a prune keeps: by counts, a share, a budget, or a bearable drop."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tf_keras as keras

from network_pruning.cut_configs import PruneConfig
from network_pruning.graph import fingerprint
from network_pruning.jobs import networks, rank_job
from network_pruning.jobs.rankings import FILE, Ranking
from network_pruning.pruning.selection import keep_units
from network_pruning.pruning.sensitivity import masked_accuracy
from network_pruning.pruning.units import Groups, find_groups
from network_pruning.runs import RunDir
from network_pruning.types import BoolArray, Dataset, Scores

log = logging.getLogger(__name__)

DROP_STEPS = 100
"""Sparsities that --max_drop chooses from."""
HOPELESS = 0.02
"""Accuracy below twice the allowed drop at which no deeper cut is tried."""


@dataclass(frozen=True)
class Step:
    """One of the cuts of an iterative pruning.

    Attributes:
        number: From 1.
        of: How many there are.
    """

    number: int
    of: int

    def share(self, whole: float) -> float:
        """Returns what this step may leave of what stood before it."""
        return whole ** (1 / self.of)

    def count(self, before: int, first: int, last: int) -> int:
        """Returns the units that stay, between `first` and the `last` in the end."""
        kept = round(first * (last / first) ** (self.number / self.of))
        return min(max(kept, last), before)


def choose(
    config: PruneConfig,
    found: networks.Found,
    network: keras.Model,
    step: Step,
    data: Dataset,
    part: RunDir,
) -> dict[str, BoolArray]:
    """Chooses the units to keep in one step.

    Args:
        config: How.
        found: The network that the command began with.
        network: The one that stands before this step.
        step: Which.
        data: For criteria, and for --max_drop.
        part: Folder of the step; scores are kept there, and a choice that is there
            already is taken.

    Returns:
        Masks by group name.

    Raises:
        ValueError: If nothing can be cut, or what is asked for does not fit.
    """
    groups = find_groups(network)
    if not groups:
        raise ValueError(_nothing(network, groups))
    if part.exists("masks.npz"):
        return {name: mask for name, mask in part.read_arrays("masks.npz").items()}
    scores = _scores(config, found, network, groups, data, part)
    if config.max_drop is not None:
        return _deepest(config, network, scores, data)
    chosen: dict[str, Any] = {"round_to": config.round_to, "scope": config.scope}
    if config.keep is not None:
        dense = find_groups(found.network)
        return keep_units(scores, keep=_counts(config.keep, dense, groups, step))
    if config.sparsity is not None:
        return keep_units(
            scores, sparsity=1 - step.share(1 - config.sparsity), **chosen
        )
    budgets = {name: step.share(v) for name, v in (config.budgets() or {}).items()}
    return keep_units(scores, budget=budgets, model=network, **chosen)


def _nothing(network: keras.Model, groups: Groups) -> str:
    reasons = "; ".join(f"{path}: {reason}" for path, reason in groups.refused[:3])
    return f"model {network.name!r} has no unit that can be cut ({reasons})"


def _counts(
    keep: tuple[int, ...], dense: Groups, groups: Groups, step: Step
) -> dict[str, int]:
    """Reads a --keep list: one number a group, in graph order.

    Returns:
        Units to keep by group name.

    Raises:
        ValueError: If it is too long or short, or a number above the group's width.
    """
    sizes = {group.name: group.n_units for group in dense}
    if len(keep) != len(sizes):
        hint = f": the {len(sizes)} groups are {_words(sizes)}"
        if len(keep) == len(sizes) + 1:
            first = ",".join(map(str, keep[:-1]))
            hint += (
                f"; published lists carry one number more, which was never read: "
                f"--keep={first}"
            )
        raise ValueError(f"keep: got {len(keep)} numbers, expected {len(sizes)}{hint}")
    for kept, (name, size) in zip(keep, sizes.items(), strict=True):
        if kept > size:
            raise ValueError(
                f"keep: got {kept} for group {name}, expected 1 to its {size} units"
            )
    before = {group.name: group.n_units for group in groups}
    return {
        name: step.count(before[name], size, kept)
        for kept, (name, size) in zip(keep, sizes.items(), strict=True)
    }


def _words(sizes: Mapping[str, int]) -> str:
    return ", ".join(f"{name} ({size})" for name, size in sizes.items())


def _scores(
    config: PruneConfig,
    found: networks.Found,
    network: keras.Model,
    groups: Groups,
    data: Dataset,
    part: RunDir,
) -> dict[str, Scores]:
    if config.scores is not None:
        return _given_scores(config.scores, found, groups)
    here = dataclasses.replace(found, network=network, fingerprint=fingerprint(network))
    return rank_job.rank(config, here, groups, data, part).scores


def _given_scores(
    where: str, found: networks.Found, groups: Groups
) -> dict[str, Scores]:
    """Reads a finished ranking.

    Returns:
        Its scores.

    Raises:
        ValueError: If there is none, or it is of another network.
    """
    path = Path(where)
    file = path / FILE if path.is_dir() else path
    if not file.is_file():
        raise ValueError(
            f"scores: there is no {file}, expected what python -m network_pruning.rank "
            "has written"
        )
    ranking = Ranking.load(RunDir(file.parent), file.name)
    ranking.check(found.fingerprint, str(file))
    groups.check_names(ranking.scores)
    missing = [group.name for group in groups if group.name not in ranking.scores]
    if missing:
        log.info("not ranked and so not cut: %s", ", ".join(missing))
    return ranking.scores


def _deepest(
    config: PruneConfig, network: keras.Model, scores: dict[str, Scores], data: Dataset
) -> dict[str, BoolArray]:
    """Finds the deepest cut whose validation accuracy falls by at most max_drop.

    Cuts are tried from the shallowest on, as accuracy need not fall evenly; the search
    ends at the first that costs twice the drop.

    Returns:
        Its masks.
    """
    accuracy = masked_accuracy(network, data)
    dense = accuracy({})
    allowed = float(config.max_drop or 0)
    best = keep_units(scores, sparsity=0.0, scope=config.scope)
    for place in range(1, DROP_STEPS):
        masks = keep_units(
            scores,
            sparsity=place / DROP_STEPS,
            scope=config.scope,
            round_to=config.round_to,
        )
        drop = dense - accuracy(masks)
        if drop <= allowed:
            best = masks
        elif drop > 2 * allowed + HOPELESS:
            break
    return best
