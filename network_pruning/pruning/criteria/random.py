"""Chance: the baseline every criterion has to beat."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import tf_keras as keras

from network_pruning.pruning.units import UnitGroup
from network_pruning.types import Dataset, Scores


def score(
    model: keras.Model,
    groups: Sequence[UnitGroup],
    data: Dataset | None = None,
    seed: int = 0,
) -> dict[str, Scores]:
    """Draws each unit's score uniformly from [0, 1).

    Args:
        model: Not read.
        groups: The units; a group's draw depends on its name, not on its place.
        data: Not read.
        seed: Of the draw.

    Returns:
        Values float64 [n_units] by group name.
    """
    del model, data
    return {group.name: Scores(_draw(group, seed)) for group in groups}


def _draw(group: UnitGroup, seed: int) -> npt.NDArray[np.float64]:
    generator = np.random.default_rng([seed, zlib.crc32(group.name.encode())])
    return generator.random(group.n_units)
