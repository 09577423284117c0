"""The scale that a BatchNormalization gives a unit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import tf_keras as keras

from network_pruning.pruning.units import Member, UnitGroup
from network_pruning.types import Dataset, Scores

NORMALISING = (
    keras.layers.BatchNormalization,
    keras.layers.experimental.SyncBatchNormalization,
)


def score(
    model: keras.Model,
    groups: Sequence[UnitGroup],
    data: Dataset | None = None,
    seed: int = 0,
) -> dict[str, Scores]:
    """Scores each unit by |gamma| of the first BatchNormalization that follows it.

    Network slimming: Z. Liu et al., "Learning Efficient Convolutional Networks through
    Network Slimming", ICCV 2017, section 3. Where the unit has several channels there,
    their mean.

    Args:
        model: Not read; the groups hold its layers.
        groups: The units.
        data: Not read.
        seed: Not read.

    Returns:
        Values float64 [n_units] by group name, exact.

    Raises:
        ValueError: If a group has a unit without such a scale.
    """
    del model, data, seed
    return {group.name: Scores(_scales(group)) for group in groups}


def _scales(group: UnitGroup) -> npt.NDArray[np.float64]:
    values = np.full(group.n_units, np.nan)
    for member in group.followers:
        if _has_scale(member.layer):
            values = np.where(np.isnan(values), _by_unit(member, group), values)
    if missing := int(np.isnan(values).sum()):
        raise ValueError(
            f"criterion 'batch_norm': no BatchNormalization with scale=True follows "
            f"{missing} of the {group.n_units} units of group {group.name!r}: take "
            "another criterion; some groups alone are ranked by --layer of "
            "network_pruning.rank, in code by groups."
        )
    return values


def _has_scale(layer: keras.layers.Layer) -> bool:
    return isinstance(layer, NORMALISING) and layer.scale


def _by_unit(member: Member, group: UnitGroup) -> npt.NDArray[np.float64]:
    """Returns the mean |gamma| of each unit's channels, NaN where it has none."""
    mine = member.units >= 0
    gammas = np.abs(member.layer.gamma.numpy().astype(np.float64))[mine]
    units = member.units[mine]
    counts = np.bincount(units, minlength=group.n_units)
    sums = np.bincount(units, gammas, minlength=group.n_units)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
