"""Which units a prune keeps: by counts, a share, a budget, or bearable costs."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tf_keras as keras

from network_pruning.graph import fingerprint
from network_pruning.jobs import limits, networks, rank_job
from network_pruning.jobs.rankings import FILE, Ranking
from network_pruning.prune_config import PruneConfig
from network_pruning.pruning.budgets import Shares
from network_pruning.pruning.masks import removed_count
from network_pruning.pruning.selection import keep_units
from network_pruning.pruning.units import Groups, find_groups
from network_pruning.runs import RunDir
from network_pruning.types import BoolArray, Dataset, Scores

log = logging.getLogger(__name__)

DEPTHS = 100
"""Sparsities that a cut within limits is chosen from."""
LIMITS = "limits.json"


@dataclass(frozen=True)
class Step:
    """One of the cuts of an iterative pruning.

    Attributes:
        number: From 1.
        of: How many there are.
    """

    number: int
    of: int

    def share(self, last: float) -> float:
        """Returns what may be left after this step, of all there was at first."""
        return last if self.number == self.of else last ** (self.number / self.of)

    def removed(self, first: int, sparsity: float) -> int:
        """Returns how many of `first` units are gone after this step."""
        last = self.number == self.of
        return removed_count(first, sparsity if last else 1 - self.share(1 - sparsity))

    def count(self, before: int, first: int, last: int) -> int:
        """Returns the units that stay, between `first` and the `last` in the end."""
        kept = round(first * self.share(last / first))
        return min(max(kept, last), before)


def choose(
    config: PruneConfig,
    found: networks.Found,
    network: keras.Model,
    step: Step,
    data: Dataset,
    part: RunDir,
    strangers: Dataset | None = None,
) -> dict[str, BoolArray]:
    """Chooses the units to keep in one step.

    Args:
        config: How.
        found: The network that the command began with.
        network: The one that stands before this step.
        step: Which.
        data: For criteria, and for limits.
        part: Folder of the step; scores are kept there, and a choice that is there
            already is taken.
        strangers: For --max_auroc_drop.

    Returns:
        Masks by group name.

    Raises:
        ValueError: If nothing can be cut, or what is asked for does not fit.
    """
    groups = find_groups(network)
    if not groups:
        raise ValueError(networks.nothing_to_cut(network, groups))
    if part.exists("masks.npz"):
        return {name: mask for name, mask in part.read_arrays("masks.npz").items()}
    dense = find_groups(found.network)
    counts = _known_counts(config, dense, groups, step)
    scores = _scores(config, found, network, groups, data, part, counts)
    if counts is not None:
        if config.keep is not None:
            _check_ranked(counts, groups, scores)
        ranked = {name: count for name, count in counts.items() if name in scores}
        return keep_units(scores, keep=ranked)
    if config.limits():
        return _deepest(config, network, scores, data, strangers, part)
    if config.sparsity is not None:
        return _over_all(config, dense, scores, step)
    chosen: dict[str, Any] = {"round_to": config.round_to, "scope": config.scope}
    return _within(config.budgets() or {}, found, network, scores, step, chosen)


def _known_counts(
    config: PruneConfig, dense: Groups, groups: Groups, step: Step
) -> dict[str, int] | None:
    """Counts the units that each group keeps, if that does not hang on their scores.

    Returns:
        Units to keep by group name, or None.
    """
    if config.keep is not None:
        return _counts(config.keep, dense, groups, step)
    if config.sparsity is not None and config.scope == "layer":
        return _shares(config, dense, groups, step)
    return None


def _shares(
    config: PruneConfig, dense: Groups, groups: Groups, step: Step
) -> dict[str, int]:
    """Counts the units that each group keeps when all lose the same share.

    Steps aim at shares of the dense network, so that what is rounded in one of them is
    not lost to the next.

    Returns:
        Units to keep by group name.
    """
    sparsity, round_to = float(config.sparsity or 0), config.round_to
    now = {group.name: group.n_units for group in groups}
    left = {g.name: g.n_units - step.removed(g.n_units, sparsity) for g in dense}
    keep = {name: -(-kept // round_to) * round_to for name, kept in left.items()}
    # Grouped convolutions of one channel a group are no longer among them.
    return {name: min(keep[name], count) for name, count in now.items()}


def _over_all(
    config: PruneConfig, dense: Groups, scores: Mapping[str, Scores], step: Step
) -> dict[str, BoolArray]:
    """Chooses the units to keep when all groups together lose a share.

    Returns:
        Masks by group name.
    """
    sparsity, round_to = float(config.sparsity or 0), config.round_to
    if step.of > 1:
        units = sum(score.values.size for score in scores.values())
        total = sum(group.n_units for group in dense if group.name in scores)
        going = units - (total - step.removed(total, sparsity))
        # The half makes sure of the whole number that is meant.
        sparsity = (going + 0.5) / units if going > 0 else 0.0
    return keep_units(scores, sparsity=sparsity, scope="global", round_to=round_to)


def _within(
    budgets: dict[str, float],
    found: networks.Found,
    network: keras.Model,
    scores: Mapping[str, Scores],
    step: Step,
    chosen: dict[str, Any],
) -> dict[str, BoolArray]:
    """Chooses the units to keep within a step's part of a budget.

    Returns:
        Masks by group name.

    Raises:
        ValueError: If the whole budget cannot be met; in the first of several steps.
    """
    if step.of > 1:
        if step.number == 1:
            keep_units(scores, budget=budgets, model=network, **chosen)
        dense = Shares(found.network, budgets).dense
        now = Shares(network, budgets).dense
        budgets = {
            name: min(1.0, step.share(share) * dense[name] / now[name])
            for name, share in budgets.items()
        }
    return keep_units(scores, budget=budgets, model=network, **chosen)


def _check_ranked(
    counts: dict[str, int], groups: Groups, scores: Mapping[str, Scores]
) -> None:
    """Insists on scores of every group that does not keep all.

    Raises:
        ValueError: If one is not ranked.
    """
    for group in groups:
        if group.name not in scores and counts[group.name] < group.n_units:
            raise ValueError(
                f"keep: got {counts[group.name]} for group {group.name}, which the "
                f"scores do not rank, expected all its {group.n_units} units"
            )


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
        if name in before  # Else earlier steps left nothing of it that could be cut.
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
    counts: dict[str, int] | None,
) -> dict[str, Scores]:
    if config.scores is not None:
        return _given_scores(config.scores, found, groups)
    here = dataclasses.replace(found, network=network, fingerprint=fingerprint(network))
    # Where each layer keeps its best, the units kept are not simply those that lead.
    kept = {g.name: counts[g.name] for g in groups if not g.parts()} if counts else {}
    return rank_job.rank(config, here, groups, data, part, kept=kept).scores


def scores_file(where: str) -> Path:
    """Returns the file that --scores names: itself, or in its folder.

    Raises:
        ValueError: If there is none.
    """
    path = Path(where)
    file = path / FILE if path.is_dir() else path
    if not file.is_file():
        raise ValueError(
            f"scores: there is no {file}, expected what python -m network_pruning.rank "
            "has written"
        )
    return file


def _given_scores(
    where: str, found: networks.Found, groups: Groups
) -> dict[str, Scores]:
    """Reads a finished ranking.

    Returns:
        Its scores.

    Raises:
        ValueError: If there is none, or it is of another network.
    """
    file = scores_file(where)
    ranking = Ranking.load(RunDir(file.parent), file.name)
    ranking.check(found.fingerprint, found.images, str(file))
    groups.check_names(ranking.scores)
    missing = [group.name for group in groups if group.name not in ranking.scores]
    if missing:
        log.info("not ranked and so not cut: %s", ", ".join(missing))
    return ranking.scores


def _deepest(
    config: PruneConfig,
    network: keras.Model,
    scores: dict[str, Scores],
    data: Dataset,
    strangers: Dataset | None,
    part: RunDir,
) -> dict[str, BoolArray]:
    """Finds the deepest cut for which every limit holds on valid.

    Cuts are tried from the shallowest on, as what they cost need not rise evenly; the
    search ends at the first that costs twice a limit and more. limits.json says what
    the chosen one costs.

    Returns:
        Its masks.

    Raises:
        ValueError: If not one unit can go.
    """
    allowed = config.limits()
    measured = limits.judge(network, data, strangers)
    before = after = measured({})
    best: dict[str, BoolArray] | None = None
    shallowest: limits.Measures = {}
    for place in range(1, DEPTHS):
        masks = keep_units(
            scores,
            sparsity=place / DEPTHS,
            scope=config.scope,
            round_to=config.round_to,
        )
        if all(mask.all() for mask in masks.values()):
            continue
        found = measured(masks)
        cost = limits.costs(before, found, allowed)
        shallowest = shallowest or cost
        if limits.are_kept(cost, allowed):
            best, after = masks, found
        elif limits.is_hopeless(cost, allowed):
            break
    if best is None:
        raise ValueError(
            f"{limits.worst(shallowest, allowed)} by the shallowest cut, so that "
            "nothing can be cut: allow more, rank by another --criterion, cut over all "
            "layers (--scope=global), or lower --round_to"
        )
    part.write_json(LIMITS, {"limits": allowed, "before": before, "after": after})
    return best
