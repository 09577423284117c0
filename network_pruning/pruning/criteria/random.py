"""Chance: the baseline every criterion has to beat."""

from __future__ import annotations

import zlib

import numpy as np
import tf_keras as keras

from network_pruning.pruning.units import UnitGroup
from network_pruning.types import Dataset, Scores


def score(
    model: keras.Model, group: UnitGroup, data: Dataset | None = None, seed: int = 0
) -> Scores:
    """Draws each unit's score uniformly from [0, 1).

    Args:
        model: Not read.
        group: The units; a group's draw depends on its name, not on its place.
        data: Not read.
        seed: Of the draw.

    Returns:
        Values float64 [n_units].
    """
    del model, data
    generator = np.random.default_rng([seed, zlib.crc32(group.name.encode())])
    return Scores(generator.random(group.n_units))
