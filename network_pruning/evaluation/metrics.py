"""Quality of class logits against hard labels, in float64.

Every function takes logits [n, classes] (any real dtype) and labels [n] (int, below
classes), and returns one number: a mean over the n examples.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

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
    return float(-np.mean(_log_softmax(z)[np.arange(len(y)), y]))


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
    if bins < 1:
        raise ValueError(f"bins: got {bins}, expected at least 1.")
    z, y = _checked(logits, labels)
    confidence = np.exp(_log_softmax(z).max(axis=1))
    gap = (z.argmax(axis=1) == y) - confidence
    edges = np.linspace(0.0, 1.0, bins + 1)
    index = np.searchsorted(edges[1:-1], confidence, side="left")
    return float(np.abs(np.bincount(index, weights=gap, minlength=bins)).sum() / len(y))


def brier(logits: Logits, labels: Labels) -> float:
    """Computes the Brier score over all classes.

    Args:
        logits: [n, classes].
        labels: [n].

    Returns:
        Mean of sum_c (p_c - [label = c])^2, in [0, 2].
    """
    z, y = _checked(logits, labels)
    difference = np.exp(_log_softmax(z))
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


def _log_softmax(z: Float64) -> Float64:
    shifted = z - z.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


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
