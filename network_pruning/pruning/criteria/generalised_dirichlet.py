"""Importance switches under a generalised Dirichlet law."""

from __future__ import annotations

from collections.abc import Sequence

import tf_keras as keras

from network_pruning.pruning.criteria._examples import require
from network_pruning.pruning.criteria._switches import as_scores, draws
from network_pruning.pruning.switch_laws import GeneralisedDirichlet
from network_pruning.pruning.switches import learn_switches
from network_pruning.pruning.units import UnitGroup
from network_pruning.types import Dataset, Scores


def score(
    model: keras.Model,
    groups: Sequence[UnitGroup],
    data: Dataset | None = None,
    seed: int = 0,
    kind: str = "integral",
    steps: int = 300,
    learning_rate: float = 0.05,
    alpha0: float = 0.5,
    kl_weight: float = 0.1,
    samples: int = 4,
    batch_size: int = 100,
    rescale: bool = False,
    jointly: bool = False,
) -> dict[str, Scores]:
    """Scores each unit by the mean of its switch, E[V_i] prod_{j<i} (1 - E[V_j]).

    The switches break a stick, V_i ~ Beta(a_i, b_i) and s_i = V_i prod_{j<i} (1 - V_j),
    so that they may vary together, which those of a Dirichlet cannot; a and b minimise
    mean cross entropy + kl_weight * KL of the Betas, the network frozen. The prior is
    the Dirichlet of alpha0. The law depends on the order of the units. See the
    criterion "dirichlet", and network_pruning/pruning/dirichlet.py.

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
    data = require(data, "generalised_dirichlet")
    found = learn_switches(
        model,
        groups,
        data,
        GeneralisedDirichlet(draws(kind, samples), alpha0),
        seed=seed,
        steps=steps,
        learning_rate=learning_rate,
        batch_size=batch_size,
        kl_weight=kl_weight,
        rescale=rescale,
        jointly=jointly,
    )
    return as_scores(found)
