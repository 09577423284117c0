"""What the criteria that learn switches share."""

from __future__ import annotations

from collections.abc import Mapping

from network_pruning.pruning.switches import Posterior
from network_pruning.types import Price, Scores


def as_scores(posteriors: Mapping[str, Posterior]) -> dict[str, Scores]:
    """Scores each unit by the mean of its switch.

    The posterior's spread is what the law believes, no error of a mean over examples:
    it is reported by `Posterior.covariance`, not as a standard error.

    Args:
        posteriors: By group name.

    Returns:
        Scores by group name.
    """
    return {
        name: Scores(found.mean(), price=Price(found.examples, found.examples))
        for name, found in posteriors.items()
    }


def draws(kind: str, samples: int) -> int:
    """Returns how many draws a training step takes, 0 for the mean.

    Args:
        kind: "point" or "integral".
        samples: Draws of "integral".

    Raises:
        ValueError: If the kind is unknown, or "integral" has no samples.
    """
    if kind not in {"point", "integral"}:
        raise ValueError(f"kind: got {kind!r}, expected 'point' or 'integral'.")
    if kind == "point":
        return 0
    if samples < 1:
        raise ValueError(
            f"samples: got {samples!r}, expected a positive integer, or kind='point'."
        )
    return samples
