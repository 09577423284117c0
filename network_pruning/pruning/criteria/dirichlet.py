"""Importance switches under a Dirichlet law."""

from __future__ import annotations

from collections.abc import Sequence

import tf_keras as keras

from network_pruning.pruning.criteria._examples import require
from network_pruning.pruning.criteria._switches import as_scores, draws
from network_pruning.pruning.switch_laws import Dirichlet
from network_pruning.pruning.switches import learn_switches
from network_pruning.pruning.units import UnitGroup
from network_pruning.types import Dataset, Scores


def score(
    model: keras.Model,
    groups: Sequence[UnitGroup],
    data: Dataset | None = None,
    seed: int = 0,
    kind: str = "point",
    steps: int = 300,
    learning_rate: float = 0.05,
    alpha0: float = 0.5,
    kl_weight: float = 0.1,
    samples: int = 4,
    batch_size: int = 100,
    rescale: bool = False,
    jointly: bool = False,
) -> dict[str, Scores]:
    """Scores each unit by the mean of its switch, phi / sum phi.

    The switches s ~ Dir(phi) multiply the units where the consumers read them; phi
    minimises mean cross entropy + kl_weight * KL(Dir(phi) || Dir(alpha0)), the network
    frozen. K. Adamczewski, M. Park, "Dirichlet Pruning for Convolutional Neural
    Networks", AISTATS 2021. The defaults were among the best single
    rankings of a LeNet before retraining.

    Args:
        model: Ends in logits; it stays bit-identical.
        groups: The units.
        data: Its training split is read.
        seed: Of the order of the examples, and of the draws.
        kind: "point" puts the mean of s in, "integral" averages logits over draws.
        steps: Of training, for each group.
        learning_rate: Of Adam.
        alpha0: Concentration of the prior; below 1 it prefers few switches.
        kl_weight: Multiplies the KL in nats.
        samples: Draws a step takes, with kind="integral".
        batch_size: Examples in a step.
        rescale: Whether n_units * s multiplies instead of s.
        jointly: Whether all groups learn at once, else one after the other.

    Returns:
        Values float64 [n_units] by group name; they sum to 1.

    Raises:
        ValueError: If there is no data, an example has several labels, or an option is
            out of range.
    """
    data = require(data, "dirichlet")
    found = learn_switches(
        model,
        groups,
        data,
        Dirichlet(draws(kind, samples), alpha0),
        seed=seed,
        steps=steps,
        learning_rate=learning_rate,
        batch_size=batch_size,
        kl_weight=kl_weight,
        rescale=rescale,
        jointly=jointly,
    )
    return as_scores(found)
