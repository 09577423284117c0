"""Importance switches without a law of chance."""

from __future__ import annotations

from collections.abc import Sequence

import tf_keras as keras

from network_pruning.pruning.criteria._examples import require
from network_pruning.pruning.criteria._switches import as_scores
from network_pruning.pruning.switch_laws import Softmax
from network_pruning.pruning.switches import learn_switches
from network_pruning.pruning.units import UnitGroup
from network_pruning.types import Dataset, Scores


def score(
    model: keras.Model,
    groups: Sequence[UnitGroup],
    data: Dataset | None = None,
    seed: int = 0,
    steps: int = 300,
    learning_rate: float = 0.05,
    batch_size: int = 100,
    rescale: bool = False,
    jointly: bool = False,
) -> dict[str, Scores]:
    """Scores each unit by its switch s = softmax(theta).

    The switches multiply the units where the consumers read them; theta minimises the
    mean cross entropy, the network frozen. There is no prior: the simplex alone makes
    the units compete. Beside "dirichlet" it shows what the law adds.

    Args:
        model: Ends in logits; it stays bit-identical.
        groups: The units.
        data: Its training split is read.
        seed: Of the order of the examples.
        steps: Of training, for each group.
        learning_rate: Of Adam.
        batch_size: Examples in a step.
        rescale: Whether n_units * s multiplies instead of s.
        jointly: Whether all groups learn at once, else one after the other.

    Returns:
        Values float64 [n_units] by group name; they sum to 1.

    Raises:
        ValueError: If there is no data, an example has several labels, or an option is
            out of range.
    """
    data = require(data, "softmax_switch")
    found = learn_switches(
        model,
        groups,
        data,
        Softmax(),
        seed=seed,
        steps=steps,
        learning_rate=learning_rate,
        batch_size=batch_size,
        rescale=rescale,
        jointly=jointly,
    )
    return as_scores(found)
