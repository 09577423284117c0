"""Partial Shapley values: marginal contributions while few units are removed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tf_keras as keras

from network_pruning.pruning import removals
from network_pruning.pruning.coalitions import Coalitions
from network_pruning.pruning.criteria._games import Checkpoint, Resume, play
from network_pruning.pruning.games import Estimate
from network_pruning.pruning.units import UnitGroup
from network_pruning.ranges import check_whole
from network_pruning.types import Dataset, Scores


def score(
    model: keras.Model,
    groups: Sequence[UnitGroup],
    data: Dataset | None = None,
    seed: int = 0,
    *,
    size: int = 2,
    value: str = "cross_entropy",
    images: int = 1000,
    earlier: Resume | None = None,
    checkpoint: Checkpoint | None = None,
) -> dict[str, Scores]:
    """Scores each unit by its mean contribution in all removals of up to `size` units.

    Size 1 is leave-one-out; the size of the group, the Shapley value. Coalitions are
    enumerated: C(n, 0) + ... + C(n, size) of them. Adamczewski, Li and Van Gool 2024;
    formula in pruning/removals.py, `partial`.

    Args:
        model: Images -> logits [n, classes], or their softmax.
        groups: The units.
        data: Its validation split is read.
        seed: Of the images.
        size: Units removed at most; a smaller group is enumerated whole.
        value: "cross_entropy" (minus it, in nats) or "accuracy".
        images: Validation images to judge by.
        earlier: States by group name, to resume or extend to a larger size from.
        checkpoint: Is handed (group name, state) after every batch.

    Returns:
        Values [n_units] by group name, exact on these images.

    Raises:
        ValueError: If there are no data, or the size is below 1 or needs too many
            coalitions.
    """
    check_whole({"size": size}, 1)

    def estimate(group: UnitGroup, game: Coalitions, state: dict[str, Any]) -> Estimate:
        del group
        return removals.partial(game, game.n, min(size, game.n), **state)

    return play(model, groups, data, seed, value, images, estimate, earlier, checkpoint)
