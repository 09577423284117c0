"""The Shapley value of a unit: what it adds, averaged over all orders of removal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tf_keras as keras

from network_pruning.pruning import removals, shapley
from network_pruning.pruning.coalitions import Coalitions
from network_pruning.pruning.criteria._games import (
    Checkpoint,
    Resume,
    play,
    stream_seed,
)
from network_pruning.pruning.games import Cut, Estimate
from network_pruning.pruning.units import UnitGroup
from network_pruning.types import Dataset, Scores

ESTIMATORS = ("permutation", "kernel", "exact", "legacy")
STOPPING = ("permutation", "kernel")
"""Those that can end early, see `kept`."""


def score(
    model: keras.Model,
    groups: Sequence[UnitGroup],
    data: Dataset | None = None,
    seed: int = 0,
    *,
    estimator: str = "permutation",
    samples: int | None = None,
    value: str = "cross_entropy",
    images: int = 1000,
    kept: Mapping[str, int] | None = None,
    z: float = 1.96,
    tolerance: float | None = None,
    earlier: Resume | None = None,
    checkpoint: Checkpoint | None = None,
) -> dict[str, Scores]:
    """Scores each unit by its Shapley value in its group, the others complete.

    A coalition's value is minus the cross entropy, or the accuracy, of the network in
    which the absent units read as zero (after normaliser and activation), on a fixed
    subset of the validation split. K. Adamczewski, Y. Li and L. Van Gool, "Shapley
    Pruning for Neural Network Compression", 2024; estimators in pruning/shapley.py.

    Args:
        model: Images -> logits [n, classes], or their softmax.
        groups: The units; what is drawn for a group depends on its name.
        data: Its validation split is read.
        seed: Of the images and of the coalitions.
        estimator: "permutation" (antithetic pairs), "kernel" (weighted least squares,
            paired), "exact" (up to 12 units), or "legacy" (the original's unweighted
            regression, for comparison).
        samples: Permutations, 30 by default; coalitions for "kernel", 2n + 2048 by
            default, and for "legacy", 100. Not for "exact".
        value: "cross_entropy" or "accuracy".
        images: Validation images to judge by.
        kept: Units to keep by group name: a group that is named stops early, once
            every kept unit leads every other by z standard errors of the difference.
            For "permutation" and "kernel".
        z: See `kept`.
        tolerance: A permutation is followed until its value is as near as this to that
            of no unit at all; None: to the end. For "permutation".
        earlier: States by group name, to resume or extend from.
        checkpoint: Is handed (group name, state) after every batch.

    Returns:
        Values in nats (or shares of accuracy), summing over a group to v(all) - v(none)
        except for "legacy"; standard errors where they were sampled.

    Raises:
        ValueError: If there are no data, or an option is unknown or out of place.
    """
    _check(estimator, samples, kept, tolerance)
    _check_kept(groups, kept or {})

    def estimate(group: UnitGroup, game: Coalitions, state: dict[str, Any]) -> Estimate:
        if estimator == "exact":
            return removals.exact(game, game.n, **state)
        count = _default_samples(estimator, game.n) if samples is None else samples
        drawn = (game, game.n, count, stream_seed(group, seed))
        if estimator == "legacy":
            return shapley.legacy(*drawn, **state)
        cut = Cut(kept[group.name], z) if kept and group.name in kept else None
        if estimator == "kernel":
            return shapley.kernel(*drawn, cut=cut, **state)
        return shapley.permutation(*drawn, cut=cut, tolerance=tolerance, **state)

    return play(model, groups, data, seed, value, images, estimate, earlier, checkpoint)


def _default_samples(estimator: str, n: int) -> int:
    return {"permutation": 30, "kernel": 2 * n + 2048, "legacy": 100}[estimator]


def _check(
    estimator: str,
    samples: int | None,
    kept: Mapping[str, int] | None,
    tolerance: float | None,
) -> None:
    if estimator not in ESTIMATORS:
        raise ValueError(
            f"estimator: got {estimator!r}, expected one of {', '.join(ESTIMATORS)}."
        )
    uses = {"exact": (), "legacy": ("samples",), "kernel": ("samples", "kept")}
    given = {"samples": samples, "kept": kept, "tolerance": tolerance}
    for name, option in given.items():
        if option is not None and name not in uses.get(estimator, given):
            raise ValueError(
                f"estimator {estimator!r}: got {name}={option!r}, expected none: it "
                "makes no use of it."
            )


def _check_kept(groups: Sequence[UnitGroup], kept: Mapping[str, int]) -> None:
    sizes = {group.name: group.n_units for group in groups}
    for name, count in kept.items():
        if name not in sizes:
            raise ValueError(
                f"kept: got the group {name!r}, expected one of {list(sizes)}."
            )
        if not 1 <= count <= sizes[name]:
            raise ValueError(
                f"kept: got {count} for group {name!r}, expected 1 to {sizes[name]} "
                "units."
            )
