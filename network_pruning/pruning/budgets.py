"""What share of a network's cost remains after a cut."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Real

import tf_keras as keras

from network_pruning.evaluation.latency import measure
from network_pruning.evaluation.tflite import to_tflite
from network_pruning.pruning.surgery import shrink
from network_pruning.pruning.widths import Widths
from network_pruning.types import Masks

EXACT = ("params", "macs")
"""Costs that are counted; the others are measured on the shrunk network."""
COSTS = (*EXACT, "bytes", "latency")


class Shares:
    """Compares what a cut leaves with a budget.

    Attributes:
        dense: What the network costs without a cut, by the budget's costs.
    """

    def __init__(self, model: keras.Model, budget: Mapping[str, float]) -> None:
        """Judges the budget and prices the dense network.

        Args:
            model: Functional or Sequential tf_keras model.
            budget: Share that may remain, in (0, 1], by cost.

        Raises:
            ValueError: If a cost is unknown, or a share out of range.
        """
        check_budget(budget)
        self.model = model
        self.budget = budget
        self._widths = Widths(model)
        self.dense = self._costs({})

    def excess(self, masks: Masks) -> str | None:
        """Returns in words which share is exceeded and by what, or None."""
        costs = self._costs(masks)
        for name, allowed in self.budget.items():
            share = costs[name] / self.dense[name]
            if share > allowed:
                return f"{share:.4g} of the dense {name} remains (allowed {allowed:g})"
        return None

    def _costs(self, masks: Masks) -> dict[str, float]:
        costs: dict[str, float] = {}
        if "params" in self.budget:
            costs["params"] = self._widths.params(masks)
        if "macs" in self.budget:
            costs["macs"] = self._widths.macs(masks)
        if set(self.budget) <= set(EXACT):
            return costs
        small = shrink(self.model, masks)
        content = to_tflite(small)
        costs["bytes"] = len(content)
        if "latency" in self.budget:
            costs["latency"] = measure(small, content).litert_median_us
        return costs


def check_budget(budget: Mapping[str, float]) -> None:
    """Refuses what is no budget.

    Raises:
        ValueError: If it is empty, a cost is unknown or a share out of range.
    """
    if not isinstance(budget, Mapping):
        raise ValueError(
            f"budget: got {budget!r}, expected shares by cost, as in {{'macs': 0.5}}"
        )
    if not budget:
        raise ValueError("budget: got none, expected one such as macs:0.5")
    for name, share in budget.items():
        if name not in COSTS:
            raise ValueError(
                f"budget: got {name!r}, expected one of {', '.join(COSTS)}."
            )
        if not isinstance(share, Real) or not 0 < share <= 1:
            raise ValueError(
                f"budget: got {name}:{share}, expected the share that may remain, in "
                "(0, 1]: macs:0.5 leaves half."
            )
