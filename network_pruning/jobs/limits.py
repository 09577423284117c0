"""What a cut may cost on valid: accuracy, likelihood, calibration, sight of strangers.

Strangers are images of another set. They are told by the total uncertainty of the
prediction, its entropy: it should be larger than that of familiar images.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import tf_keras as keras
from scipy import special

from network_pruning.evaluation import metrics, uncertainty
from network_pruning.pruning.sensitivity import masked_logits
from network_pruning.types import BoolArray, Dataset

Masks = Mapping[str, BoolArray]
Measures = dict[str, float]
"""accuracy, nll (nats), ece and, with strangers, auroc."""

MEASURES: Mapping[str, tuple[str, int, float]] = {
    "max_drop": ("accuracy", -1, 0.02),
    "max_nll_increase": ("nll", 1, 0.1),
    "max_ece_increase": ("ece", 1, 0.02),
    "max_auroc_drop": ("auroc", -1, 0.02),
}
"""Limit -> what it is of, the sign with which that grows worse, and how much beyond
twice the limit it is when no deeper cut is tried."""
EQUAL = 1e-9
"""By which a rise may be above the limit: what is equal on paper differs in binary."""


def measure(
    logits: npt.ArrayLike, labels: npt.ArrayLike, strangers: npt.ArrayLike | None = None
) -> Measures:
    """Judges predictions.

    Args:
        logits: Of labelled images [n, classes].
        labels: [n].
        strangers: Logits of strangers [m, classes].

    Returns:
        The measures.
    """
    found = {
        "accuracy": metrics.accuracy(logits, labels),
        "nll": metrics.nll(logits, labels),
        "ece": metrics.ece(logits, labels),
    }
    if strangers is not None:
        scores = [_total(each) for each in (logits, strangers)]
        found["auroc"] = uncertainty.auroc(*scores)
    return found


def _total(logits: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Returns the entropy of each prediction [n], in nats."""
    logs = special.log_softmax(np.asarray(logits, np.float64), axis=1)
    return uncertainty.entropy(logs)


def judge(
    network: keras.Model, data: Dataset, strangers: Dataset | None
) -> Callable[[Masks], Measures]:
    """Returns a function from masks to the measures of what remains.

    Args:
        network: With all its units.
        data: Its validation split counts.
        strangers: Likewise; as many of them as there are validation images, at most.
    """
    logits = masked_logits(network)
    labels = np.concatenate([y.numpy() for _, y in data.batches("valid", 1000)])

    def measured(masks: Masks) -> Measures:
        others = None
        if strangers is not None:
            others = logits(masks, strangers)[: len(labels)]
        return measure(logits(masks, data), labels, others)

    return measured


def costs(dense: Measures, cut: Measures, limits: Mapping[str, float]) -> Measures:
    """Returns by limit how much worse a cut is than the network before it."""
    found = {}
    for name in limits:
        what, sign, _ = MEASURES[name]
        found[name] = sign * (cut[what] - dense[what])
    return found


def are_kept(cost: Measures, limits: Mapping[str, float]) -> bool:
    """Returns whether every limit holds."""
    return all(cost[name] <= limit + EQUAL for name, limit in limits.items())


def is_hopeless(cost: Measures, limits: Mapping[str, float]) -> bool:
    """Returns whether a limit is missed so far that deeper cuts need not be tried."""
    return any(
        cost[name] > 2 * limit + MEASURES[name][2] for name, limit in limits.items()
    )


def worst(cost: Measures, limits: Mapping[str, float]) -> str:
    """Returns the limit that a cut misses most, and by how much, in words.

    Args:
        cost: Of the cut, by limit; {} if there is no cut at all.
        limits: By name.
    """
    if not cost:
        return f"{next(iter(limits))}: no unit would go"
    name = max(limits, key=lambda name: cost[name] - limits[name])
    return f"{name}: got {limits[name]:g}, missed with {cost[name]:.4f}"


def remark(kept: Mapping[str, Any]) -> str:
    """Returns what limits.json says, as one line."""
    words = [
        f"{MEASURES[name][0]} {kept['before'][MEASURES[name][0]]:.4f} before the cut, "
        f"{kept['after'][MEASURES[name][0]]:.4f} after it ({name} {limit:g})"
        for name, limit in kept["limits"].items()
    ]
    return f"on valid {'; '.join(words)}"
