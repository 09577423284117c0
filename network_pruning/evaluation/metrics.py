"""Quality of class logits against hard labels, in float64.

Every function takes logits [n, classes] (any real dtype) and labels [n] (int, below
classes), or of attributes both [n, attributes], and returns one number: a mean over the
n examples.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

Logits = npt.ArrayLike
Labels = npt.ArrayLike
Float64 = npt.NDArray[np.float64]


def accuracy(logits: Logits, labels: Labels) -> float:
    """Computes the share of examples whose largest logit is the label's.

    Args:
        logits: [n, classes]; the lowest index wins a tie.
        labels: [n].

    Returns:
        Accuracy in [0, 1].
    """
    z, y = _checked(logits, labels)
    return float(np.mean(z.argmax(axis=1) == y))


def cross_entropy(logits: Logits, labels: Labels) -> float:
    """Computes the mean cross entropy between the labels and the prediction.

    Args:
        logits: [n, classes].
        labels: [n].

    Returns:
        Mean of -log softmax(logits)[label], in nats, without any penalty.
    """
    z, y = _checked(logits, labels)
    return float(-np.mean(special.log_softmax(z, axis=1)[np.arange(len(y)), y]))


def attributes_accuracy(logits: Logits, labels: Labels) -> float:
    """Computes the share of attributes that are told right, over all examples.

    Args:
        logits: [n, attributes]; above zero says present.
        labels: [n, attributes], 1 where present, else 0.

    Returns:
        Share in [0, 1].
    """
    z, present = _checked_attributes(logits, labels)
    return float(np.mean((z > 0) == present))


def attributes_cross_entropy(logits: Logits, labels: Labels) -> float:
    """Computes the mean two-way cross entropy of attributes.

    Args:
        logits: [n, attributes].
        labels: [n, attributes], 1 where present, else 0.

    Returns:
        Mean of -log sigmoid(+-logit) over examples and attributes, in nats.
    """
    z, present = _checked_attributes(logits, labels)
    return float(np.mean(np.logaddexp(0, np.where(present, -z, z))))


def nll(logits: Logits, labels: Labels) -> float:
    """Computes the mean negative log likelihood of the labels.

    For hard labels and one network it equals `cross_entropy`; the two names part for
    soft labels and for averaged predictions.

    Args:
        logits: [n, classes].
        labels: [n].

    Returns:
        Mean negative log likelihood in nats.
    """
    return cross_entropy(logits, labels)


def ece(logits: Logits, labels: Labels, bins: int = 15) -> float:
    """Computes the expected calibration error.

    sum_b n_b / n * |accuracy_b - confidence_b| over equal-width bins (lo, hi] of the
    confidence, the largest softmax probability (Guo et al. 2017, On Calibration of
    Modern Neural Networks, eq. 3).

    Args:
        logits: [n, classes].
        labels: [n].
        bins: Number of bins on (0, 1].

    Returns:
        Error in [0, 1].

    Raises:
        ValueError: If there is no bin.
    """
    counts, confidence, right = _binned(logits, labels, bins)
    return float(np.abs(right - confidence).sum() / counts.sum())


@dataclass(frozen=True)
class Reliability:
    """Confidence beside accuracy, bin by bin; nan where a bin is empty.

    Attributes:
        confidence: Mean largest probability [bins].
        accuracy: [bins].
        share: Of all examples [bins].
    """

    confidence: Float64
    accuracy: Float64
    share: Float64


def reliability(logits: Logits, labels: Labels, bins: int = 15) -> Reliability:
    """Compares confidence and accuracy in the bins of `ece`.

    Args:
        logits: [n, classes].
        labels: [n].
        bins: Number of bins on (0, 1].

    Returns:
        The comparison; the share-weighted mean of its gaps is the calibration error.

    Raises:
        ValueError: If there is no bin.
    """
    counts, confidence, right = _binned(logits, labels, bins)
    some = np.where(counts > 0, counts, np.nan)
    return Reliability(confidence / some, right / some, counts / counts.sum())


def _binned(logits: Logits, labels: Labels, bins: int) -> tuple[Float64, ...]:
    """Returns examples, their summed confidence, and how many are right, by bin.

    Raises:
        ValueError: If there is no bin.
    """
    if bins < 1:
        raise ValueError(f"bins: got {bins}, expected at least 1.")
    z, y = _checked(logits, labels)
    confidence = np.exp(special.log_softmax(z, axis=1).max(axis=1))
    edges = np.linspace(0.0, 1.0, bins + 1)
    index = np.searchsorted(edges[1:-1], confidence, side="left")
    weights = np.ones(len(y)), confidence, z.argmax(axis=1) == y
    sums = (np.bincount(index, weights=w, minlength=bins) for w in weights)
    return tuple(np.asarray(each, np.float64) for each in sums)


def brier(logits: Logits, labels: Labels) -> float:
    """Computes the Brier score over all classes.

    Args:
        logits: [n, classes].
        labels: [n].

    Returns:
        Mean of sum_c (p_c - [label = c])^2, in [0, 2].
    """
    z, y = _checked(logits, labels)
    difference = np.exp(special.log_softmax(z, axis=1))
    difference[np.arange(len(y)), y] -= 1.0
    return float(np.mean(np.sum(difference**2, axis=1)))


def per_seed(values: npt.ArrayLike) -> tuple[Float64, Float64]:
    """Aggregates over the first axis, the seeds.

    Args:
        values: [seeds, ...].

    Returns:
        Mean [...] and sample standard deviation [...] (ddof=1; nan for one seed).

    Raises:
        ValueError: If there is no seed.
    """
    x = np.asarray(values, np.float64)
    if x.ndim == 0 or len(x) == 0:
        raise ValueError(f"values: got shape {x.shape}, expected [seeds, ...].")
    mean = np.asarray(x.mean(axis=0))
    sd = np.full_like(mean, np.nan) if len(x) == 1 else x.std(axis=0, ddof=1)
    return mean, np.asarray(sd)


def _checked_attributes(
    logits: Logits, labels: Labels
) -> tuple[Float64, npt.NDArray[np.bool_]]:
    z, y = np.asarray(logits, np.float64), np.asarray(labels)
    if z.ndim != 2 or y.shape != z.shape or not z.size or not np.isin(y, (0, 1)).all():
        raise ValueError(
            f"got logits {z.shape} and labels {y.shape}, expected both [n, attributes] "
            "with n > 0, labels 0 or 1."
        )
    return z, y.astype(bool)


def _checked(logits: Logits, labels: Labels) -> tuple[Float64, npt.NDArray[np.intp]]:
    z, y = np.asarray(logits, np.float64), np.asarray(labels)
    if z.ndim != 2 or y.shape != z.shape[:1] or len(y) == 0:
        raise ValueError(
            f"got logits {z.shape} and labels {y.shape}, "
            "expected [n, classes] and [n] with n > 0."
        )
    if not np.issubdtype(y.dtype, np.integer):
        raise ValueError(f"labels: got {y.dtype}, expected integers; cast them.")
    if y.min() < 0 or y.max() >= z.shape[1]:
        raise ValueError(
            f"labels: got {y.min()}..{y.max()}, expected 0..{z.shape[1] - 1}."
        )
    return z, y.astype(np.intp)
