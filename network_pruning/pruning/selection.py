"""Chooses the units to keep: by a share, by counts, or within a budget."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import tf_keras as keras

from network_pruning.pruning import masks as arithmetic
from network_pruning.pruning.budgets import EXACT, Shares
from network_pruning.types import BoolArray, Scores

logger = logging.getLogger(__name__)

STEPS = 10_000
"""Sparsities that a budget chooses from."""
TIMED_STEPS = 200
"""Likewise, where every try has to be built and measured."""


def keep_units(
    scores: Mapping[str, Scores],
    *,
    sparsity: float | None = None,
    keep: Mapping[str, int] | None = None,
    budget: Mapping[str, float] | None = None,
    model: keras.Model | None = None,
    scope: str = "layer",
    round_to: int = 1,
) -> dict[str, BoolArray]:
    """Chooses the units to keep; at least one of each group, and of each layer, stays.

    Args:
        scores: Scores by group name, as `score_units` gives them.
        sparsity: Share of the units to remove, in [0, 1); or give `keep`.
        keep: Units to keep by group name; a group that is not named keeps all.
        budget: Share of the dense cost that may remain, in (0, 1], by what it is a
            share of: "params", "macs", "bytes" (of the LiteRT file), "latency" (of
            LiteRT at batch 1, timed here). The most is kept that meets all of them.
        model: The network, for a budget.
        scope: "layer" removes the share from each group; "global" from all together,
            each group's scores divided by their mean absolute value.
        round_to: With sparsity or budget: round the number kept up to a multiple of
            it, as far as there are units.

    Returns:
        Masks by group name, bool [n_units], True = keep.

    Raises:
        ValueError: If not exactly one of sparsity, keep and budget is given, or a value
            is out of range, or a name is unknown, or the budget cannot be met.
    """
    given = {"sparsity": sparsity, "keep": keep, "budget": budget}
    if len([value for value in given.values() if value is not None]) != 1:
        raise ValueError(
            "keep_units: got "
            + ", ".join(f"{name}={value!r}" for name, value in given.items())
            + ", expected exactly one of them."
        )
    if scope not in {"layer", "global"}:
        raise ValueError(f"scope: got {scope!r}, expected 'layer' or 'global'.")
    if strange := [n for n, score in scores.items() if not isinstance(score, Scores)]:
        raise ValueError(
            f"scores: got {type(scores[strange[0]]).__name__} for {strange[0]!r}, "
            "expected Scores by group name, as score_units gives them."
        )
    if round_to != int(round_to) or round_to < 1 or (round_to > 1 and keep is not None):
        raise ValueError(
            f"round_to: got {round_to!r}, expected a positive integer, with sparsity; "
            "with keep, give the rounded counts themselves."
        )
    values = {name: score.values for name, score in scores.items()}
    forced = {
        name: arithmetic.best_of_each(score.values, score.parts)
        for name, score in scores.items()
    }
    if keep is not None:
        return _keep_given(values, keep, forced)
    chooser = _Chooser(values, forced, scope, round_to)
    if budget is None:
        return chooser.removing(0.0 if sparsity is None else sparsity)
    if model is None:
        raise ValueError("keep_units: got a budget without its model, expected both.")
    return _within(budget, model, chooser)


@dataclass(frozen=True)
class _Chooser:
    """Masks by sparsity: the larger it is, the less is kept."""

    values: Mapping[str, npt.NDArray[np.float64]]
    forced: Mapping[str, BoolArray]
    scope: str
    round_to: int

    def at(self, sparsity: float) -> dict[str, BoolArray]:
        """Returns the masks of a sparsity in [0, 1)."""
        if self.scope == "global":
            masks = arithmetic.keep_largest_global(
                self.values, sparsity, normalise=True, forced=self.forced
            )
        else:
            masks = {
                name: arithmetic.keep_largest(value, sparsity, self.forced[name])
                for name, value in self.values.items()
            }
        if self.round_to == 1:
            return masks
        return {
            name: arithmetic.keep_count(
                self.values[name], _rounded(mask, self.round_to), self.forced[name]
            )
            for name, mask in masks.items()
        }

    def removing(self, sparsity: float) -> dict[str, BoolArray]:
        """Returns the masks of a sparsity, and logs where it removes nothing."""
        masks = self.at(sparsity)
        if sparsity and all(mask.all() for mask in masks.values()):
            logger.warning(
                "sparsity %g with round_to %d removes nothing, every unit stays.",
                *(sparsity, self.round_to),
            )
        return masks


def _within(
    budget: Mapping[str, float], model: keras.Model, chooser: _Chooser
) -> dict[str, BoolArray]:
    """Finds the least sparsity whose masks meet a budget, by bisection.

    Returns:
        Its masks.

    Raises:
        ValueError: If none does, with what can be had.
    """
    price = Shares(model, budget)
    steps = STEPS if set(budget) <= set(EXACT) else TIMED_STEPS
    low, high = -1, steps - 1
    masks = chooser.at(high / steps)
    if excess := price.excess(masks):
        raise ValueError(
            f"budget: {excess} with one unit or little more left of every layer: allow "
            "more, or cut another way."
        )
    while high - low > 1:
        middle = (low + high) // 2
        tried = chooser.at(middle / steps)
        if price.excess(tried):
            low = middle
        else:
            high, masks = middle, tried
    return masks


def _rounded(mask: BoolArray, multiple: int) -> int:
    kept = int(np.count_nonzero(mask))
    return min(-(-kept // multiple) * multiple, mask.size)


def _keep_given(
    values: Mapping[str, npt.NDArray[np.float64]],
    keep: Mapping[str, int],
    forced: Mapping[str, BoolArray],
) -> dict[str, BoolArray]:
    if not isinstance(keep, Mapping):
        raise ValueError(
            f"keep: got {keep!r}, expected units by group name, such as "
            f"{{{next(iter(values), 'c1')!r}: 8}}."
        )
    if unknown := [name for name in keep if name not in values]:
        raise ValueError(
            f"keep: got the group {unknown[0]!r}, expected one of {list(values)}."
        )
    for name, kept in keep.items():
        if kept != int(kept) or not 1 <= kept <= values[name].size:
            raise ValueError(
                f"keep: got {kept} for group {name!r}, expected 1 to "
                f"{values[name].size} units."
            )
    return {
        name: arithmetic.keep_count(value, keep.get(name, value.size), forced[name])
        for name, value in values.items()
    }
