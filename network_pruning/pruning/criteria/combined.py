"""Several criteria as one: the mean of their ranks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tf_keras as keras

from network_pruning.pruning.units import UnitGroup
from network_pruning.types import Dataset, Price, Scores


def score(
    model: keras.Model,
    groups: Sequence[UnitGroup],
    data: Dataset | None = None,
    seed: int = 0,
    of: str | Sequence[str] = ("shapley", "dirichlet", "fisher"),
    options: Mapping[str, Mapping[str, Any]] | None = None,
) -> dict[str, Scores]:
    """Scores each unit by the mean of its ranks under several criteria.

    The rank is 1 for the least important unit of a group, n_units for the most; equal
    scores share the mean of their ranks.

    Args:
        model: The network of the groups.
        groups: The units.
        data: Handed to every criterion.
        seed: Handed to every criterion.
        of: Names of criteria, a tuple or separated by commas.
        options: Options of the criteria, by name: {"dirichlet": {"steps": 100}}.

    Returns:
        Values float64 [n_units] by group name; the price is the sum of the criteria's.

    Raises:
        ValueError: If a name is unknown, or stands twice, or is "combined", or options
            are given to a criterion that is not named.
    """
    # Late: the package registers this module while it loads.
    from network_pruning.pruning.criteria import score_units

    names = _names(of)
    given = dict(options or {})
    if unknown := [name for name in given if name not in names]:
        raise ValueError(f"options: got {unknown[0]!r}, expected one of {names}.")
    found = [
        score_units(model, name, data, groups, seed, **given.get(name, {}))
        for name in names
    ]
    return {group.name: _combine([s[group.name] for s in found]) for group in groups}


def _names(of: str | Sequence[str]) -> list[str]:
    parts = of.split(",") if isinstance(of, str) else of
    names = [part.strip() for part in parts]
    if not names or len(set(names)) < len(names) or "combined" in names:
        raise ValueError(
            f"of: got {of!r}, expected different criteria other than 'combined', "
            "such as 'l2,fisher'."
        )
    return names


def _combine(scores: Sequence[Scores]) -> Scores:
    from scipy import stats  # Slow to load, and every command loads this module.

    ranks = np.mean([stats.rankdata(s.values) for s in scores], axis=0)
    price = Price(
        forward=sum(s.price.forward for s in scores),
        backward=sum(s.price.backward for s in scores),
        seconds=sum(s.price.seconds for s in scores),
    )
    return Scores(ranks, price=price)
