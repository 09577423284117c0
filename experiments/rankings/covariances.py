"""Do switches learn to vary together? The question in the preface of the fork.

A Dirichlet can only say that more of one unit means less of all others; a generalised
one could say more. Its posterior is learnt for every group of a network, and the
correlations of its switches are counted by sign, closed form beside samples.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import tf_keras as keras

from network_pruning.pruning.switch_laws import Dirichlet, GeneralisedDirichlet
from network_pruning.pruning.switches import Posterior, learn_switches
from network_pruning.pruning.units import find_groups
from network_pruning.types import Dataset

Float64 = npt.NDArray[np.float64]
LAWS = {"dirichlet": Dirichlet, "generalised dirichlet": GeneralisedDirichlet}
DRAWS = 4
ALPHA0 = 0.5
CHECKED = 20_000
"""Samples that stand beside the closed form."""


@dataclass(frozen=True)
class Correlations:
    """Of the switches of one group.

    Attributes:
        values: Above the diagonal, in closed form [n (n - 1) / 2].
        sampled: Likewise, from draws.
    """

    values: Float64
    sampled: Float64

    @property
    def positive(self) -> float:
        """Share of the pairs that vary together."""
        return float(np.mean(self.values > 0))


def learn(
    network: keras.Model, data: Dataset, seed: int, steps: int
) -> dict[str, dict[str, Correlations]]:
    """Learns the switches of every group under both laws.

    Args:
        network: Trained; ends in logits.
        data: Its training split is read.
        seed: Of order and draws.
        steps: Of training, for each group.

    Returns:
        By law and group name.
    """
    groups = list(find_groups(network))
    found = {}
    for name, law in LAWS.items():
        posteriors = learn_switches(
            network, groups, data, law(DRAWS, ALPHA0), seed=seed, steps=steps
        )
        found[name] = {group: of(posterior) for group, posterior in posteriors.items()}
    return found


def of(posterior: Posterior) -> Correlations:
    """Returns the correlations of a posterior."""
    return Correlations(
        _above_diagonal(posterior.covariance()),
        _above_diagonal(posterior.sampled_covariance(CHECKED)),
    )


def _above_diagonal(covariance: Float64) -> Float64:
    spread = np.sqrt(np.diag(covariance))
    scale = np.outer(spread, spread)
    correlation = np.divide(
        covariance, scale, out=np.zeros_like(covariance), where=scale > 0
    )
    return correlation[np.triu_indices(len(covariance), 1)]


def markdown(
    found: Mapping[int, Mapping[str, Mapping[str, Correlations]]], command: str
) -> str:
    """Returns the shares of positive pairs as a page.

    Args:
        found: By seed, law and group.
        command: That makes it.
    """
    laws = list(LAWS)
    groups = list(next(iter(found.values()))[laws[0]])
    lines = [
        "# Do importance switches learn to vary together?",
        "",
        f"    {command}",
        "",
        f"Share of the pairs of a group's switches whose correlation is positive, mean "
        f"± sd over seeds {', '.join(map(str, found))}; the largest correlation in "
        "brackets. Closed form; samples agree as the last column says (largest "
        "difference of a correlation).",
        "",
        "| group | " + " | ".join(laws) + " | closed form against samples |",
        "|---" * (len(laws) + 2) + "|",
    ]
    for group in groups:
        cells = [_cell([found[seed][law][group] for seed in found]) for law in laws]
        apart = max(
            float(np.abs(each.values - each.sampled).max())
            for by_law in found.values()
            for each in (by_law[law][group] for law in laws)
        )
        lines.append(f"| {group} | {' | '.join(cells)} | {apart:.3f} |")
    return "\n".join(lines) + "\n"


def _cell(correlations: list[Correlations]) -> str:
    shares = [each.positive for each in correlations]
    largest = max(float(each.values.max()) for each in correlations)
    spread = f" ± {np.std(shares, ddof=1):.2f}" if len(shares) > 1 else ""
    return f"{np.mean(shares):.2f}{spread} ({largest:+.2f})"
