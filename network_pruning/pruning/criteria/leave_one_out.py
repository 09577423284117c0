"""Leave-one-out: what is lost when a unit alone is removed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

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
    value: str = "cross_entropy",
    images: int = 1000,
    earlier: Resume | None = None,
    checkpoint: Checkpoint | None = None,
) -> dict[str, Scores]:
    """Scores each unit by v(all) - v(all but it).

    The special case of partial Shapley values of size 1 (Adamczewski, Li and Van Gool
    2024): blind to units that stand in for each other.

    Args:
        model: Images -> logits [n, classes], or their softmax.
        groups: The units.
        data: Its validation split is read.
        seed: Of the images.
        value: "cross_entropy" (minus it, in nats) or "accuracy".
        images: Validation images to judge by.
        earlier: States by group name, to resume from; those of "partial" fit.
        checkpoint: Is handed (group name, state) after every batch.

    Returns:
        Values [n_units] by group name, exact on these images.

    Raises:
        ValueError: If there are no data, or an option is out of range.
    """

    def estimate(group: UnitGroup, game: Coalitions, state: dict[str, Any]) -> Estimate:
        del group
        return removals.partial(game, game.n, 1, **state)

    return play(model, groups, data, seed, value, images, estimate, earlier, checkpoint)
