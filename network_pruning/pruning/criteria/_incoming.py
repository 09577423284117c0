"""What the norm criteria share: sums over the weights that enter a unit."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from network_pruning.pruning.layer_rules import RULES
from network_pruning.pruning.units import UnitGroup
from network_pruning.types import FloatArray


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
    for member in group.producers:
        rule = RULES[type(member.layer)]
        for attribute in rule.kernels:
            axes = rule.weight_axes[attribute]
            weight = getattr(member.layer, attribute).numpy().astype(np.float64)
            out = weight.ndim - len(axes) + axes.index("out")
            others = tuple(axis for axis in range(weight.ndim) if axis != out)
            of_channel = function(weight).sum(axis=others)
            mine = member.units >= 0
            np.add.at(sums, member.units[mine], of_channel[mine])
    return sums
