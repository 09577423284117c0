"""What the weight criteria share: the weights that enter a unit."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from network_pruning.pruning.channel_ids import IntArray
from network_pruning.pruning.layer_rules import RULES
from network_pruning.pruning.units import UnitGroup
from network_pruning.types import FloatArray


def _kernels(group: UnitGroup) -> Iterator[tuple[IntArray, FloatArray]]:
    """Yields the weights of all producers that mix channels; biases do not.

    Yields:
        Unit of each output channel [width], -1 for none, and the weights that enter
        each channel [width, fan in], float64.
    """
    for member in group.producers:
        rule = RULES[type(member.layer)]
        for attribute in rule.kernels:
            axes = rule.weight_axes[attribute]
            weight = getattr(member.layer, attribute).numpy().astype(np.float64)
            out = weight.ndim - len(axes) + axes.index("out")
            by_channel = np.moveaxis(weight, out, 0)
            yield member.units, by_channel.reshape(len(by_channel), -1)


def sum_incoming(
    group: UnitGroup, function: Callable[[FloatArray], FloatArray]
) -> npt.NDArray[np.float64]:
    """Sums a function of every weight that enters a unit, over all producers.

    Args:
        group: The units.
        function: Elementwise, on float64 arrays.

    Returns:
        Sums [n_units]; biases are not counted.
    """
    sums = np.zeros(group.n_units)
    for units, weights in _kernels(group):
        mine = units >= 0
        np.add.at(sums, units[mine], function(weights).sum(axis=1)[mine])
    return sums


def incoming_vectors(group: UnitGroup) -> npt.NDArray[np.float64]:
    """Lays the weights that enter each unit in a row.

    Args:
        group: The units.

    Returns:
        [n_units, weights that enter a unit], over all producers; biases are not
        counted, and zeros stand where a producer makes fewer channels of a unit.
    """
    parts = []
    for units, weights in _kernels(group):
        channels = [np.flatnonzero(units == unit) for unit in range(group.n_units)]
        most = max(len(found) for found in channels)
        part = np.zeros((group.n_units, most, weights.shape[1]))
        for unit, found in enumerate(channels):
            part[unit, : len(found)] = weights[found]
        parts.append(part.reshape(group.n_units, -1))
    return np.concatenate(parts, axis=1)
