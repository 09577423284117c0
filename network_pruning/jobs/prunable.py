"""What of a network a sweep can prune, and what it cannot."""

from __future__ import annotations

from collections.abc import Sequence

import tf_keras as keras

from network_pruning.pruning.units import Groups, find_groups
from network_pruning.pruning.weights import hidden_mixers


def check_prunable(network: keras.Model, kinds: Sequence[str]) -> None:
    """Judges whether there is anything to prune.

    Args:
        network: Functional or Sequential.
        kinds: weight, unit, or both.

    Raises:
        ValueError: If there is nothing, of no kind.
    """
    missing = idle(network, kinds)
    if len(missing) == len(kinds):
        raise ValueError(
            f"model {network.name!r} has nothing to prune: {'; '.join(missing)}; "
            "expected at least one layer before the output layer"
        )


def idle(network: keras.Model, kinds: Sequence[str]) -> list[str]:
    """Returns for each kind of pruning that finds nothing what is missing."""
    found = []
    if "weight" in kinds and not hidden_mixers(network):
        found.append("no kernel but that of the output layer")
    if "unit" in kinds and not (groups := find_groups(network)):
        found.append(no_unit(groups))
    return found


def no_unit(groups: Groups) -> str:
    """Returns that no unit can be cut, and the first reasons."""
    reasons = "; ".join(f"{path}: {reason}" for path, reason in groups.refused[:3])
    return f"no unit that can be cut ({reasons})"
