"""The oracle: the best units to remove, found by trying every set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tf_keras as keras

from network_pruning.pruning import removals
from network_pruning.pruning.coalitions import Coalitions
from network_pruning.pruning.criteria._games import Checkpoint, Resume, play
from network_pruning.pruning.games import Estimate
from network_pruning.pruning.units import UnitGroup
from network_pruning.types import Dataset, Scores


def score(
    model: keras.Model,
    groups: Sequence[UnitGroup],
    data: Dataset | None = None,
    seed: int = 0,
    *,
    size: int = 5,
    value: str = "cross_entropy",
    images: int = 1000,
    earlier: Resume | None = None,
    checkpoint: Checkpoint | None = None,
) -> dict[str, Scores]:
    """Scores each unit by the share of sizes whose best removal spares it.

    For s = 1 ... size the best of all C(n, s) sets is found; a unit scores the share of
    these `size` sets it is not in. A benchmark for small groups (Adamczewski, Li and
    Van Gool 2024, Oracle-rank), not a way to prune. `removals.oracle` lists the sets.

    Args:
        model: Images -> logits [n, classes], or their softmax.
        groups: The units.
        data: Its validation split is read.
        seed: Of the images.
        size: Units removed at most; fewer where the group must keep one.
        value: "cross_entropy" (minus it, in nats) or "accuracy".
        images: Validation images to judge by.
        earlier: States by group name, to resume from; those of "partial" fit.
        checkpoint: Is handed (group name, state) after every batch.

    Returns:
        Shares in [0, 1] [n_units] by group name, exact on these images.

    Raises:
        ValueError: If there are no data, or the size needs too many coalitions.
    """

    def estimate(group: UnitGroup, game: Coalitions, state: dict[str, Any]) -> Estimate:
        del group
        most = max(1, min(size, game.n - 1))
        found, samples = removals.oracle(game, game.n, most, **state)
        spared = np.ones((most, game.n))
        for row, best in zip(spared, found, strict=True):
            row[best.removed[0]] = 0
        values = spared.mean(axis=0)
        return Estimate(values, None, samples.evaluations, samples)

    return play(model, groups, data, seed, value, images, estimate, earlier, checkpoint)
