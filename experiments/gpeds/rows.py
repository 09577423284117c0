"""The measured students and teachers of an experiment."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import tensorflow as tf
import tf_keras as keras

from network_pruning.evaluation import metrics, uncertainty
from network_pruning.evaluation.cost import count_params
from network_pruning.evaluation.macs import count_macs
from network_pruning.posterior import expectations
from network_pruning.posterior.expectations import Expectation
from network_pruning.types import FloatArray

CHUNK = 2000


@dataclass(frozen=True)
class Row:
    """One network on one split; nan where it does not say.

    Attributes:
        stage: teacher (the whole chain), student, lasso, pruned, finetuned ...
        name: Of the student.
        params: Trainable parameters.
        macs: Of one image.
        nll: Mean, in nats.
        accuracy: In [0, 1].
        ece: 15 bins.
        brier: Over all classes.
        entropy_mae: Mean |h - h_ensemble| of the expected data uncertainty, nats.
        cross_entropy: To the ensemble's mean prediction.
        kl: From it: KL(ensemble || student).
        probability_mae: Mean over images and classes.
        teacher_nll: Of the ensemble.
        teacher_accuracy: Of the ensemble.
        draws: Of the chain in the ensemble.
    """

    stage: str
    name: str
    params: int
    macs: int
    nll: float
    accuracy: float
    ece: float
    brier: float
    entropy_mae: float
    cross_entropy: float
    kl: float
    probability_mae: float
    teacher_nll: float
    teacher_accuracy: float
    draws: int

    @property
    def key(self) -> tuple[str, str]:
        """What it is about."""
        return self.stage, self.name


@dataclass(frozen=True)
class Truth:
    """What the chain says of a split, to measure students by.

    Attributes:
        log_probabilities: Of its mean prediction [n, classes].
        data: Its expected data uncertainty [n], nats.
        labels: [n].
        draws: In the means.
    """

    log_probabilities: FloatArray
    data: FloatArray
    labels: npt.NDArray[np.int64]
    draws: int

    @property
    def uncertainty(self) -> uncertainty.Uncertainty:
        """Total and expected data uncertainty."""
        total = uncertainty.entropy(self.log_probabilities)
        return uncertainty.Uncertainty(total, np.asarray(self.data, np.float64))


def teacher_row(network: keras.Model, truth: Truth) -> Row:
    """Returns how the chain itself does."""
    logits, labels = truth.log_probabilities, truth.labels
    own = uncertainty.entropy(logits)
    return Row(
        "teacher",
        "ensemble",
        count_params(network),
        count_macs(network) or 0,
        **judged(logits, labels),
        entropy_mae=0.0,
        cross_entropy=float(own.mean()),
        kl=0.0,
        probability_mae=0.0,
        teacher_nll=metrics.nll(logits, labels),
        teacher_accuracy=metrics.accuracy(logits, labels),
        draws=truth.draws,
    )


def student_row(
    stage: str,
    network: keras.Model,
    expectation: Expectation,
    images: npt.NDArray[np.float32],
    truth: Truth,
) -> Row:
    """Returns how a student does, against labels and against the chain."""
    said = read(network, expectation, images)
    logits = said.get(expectations.LOG_PROBABILITIES)
    entropy = _expected_entropy(said)
    none = dict.fromkeys(("nll", "accuracy", "ece", "brier"), math.nan)
    return Row(
        stage,
        network.name,
        count_params(network),
        count_macs(network) or 0,
        **(none if logits is None else judged(logits, truth.labels)),
        entropy_mae=math.nan
        if entropy is None
        else uncertainty.entropy_mae(entropy, truth.data),
        **_to_the_chain(logits, truth),
        teacher_nll=metrics.nll(truth.log_probabilities, truth.labels),
        teacher_accuracy=metrics.accuracy(truth.log_probabilities, truth.labels),
        draws=truth.draws,
    )


def _expected_entropy(said: Mapping[str, FloatArray]) -> FloatArray | None:
    """Returns the expected data uncertainty that a student tells, or its law has."""
    if expectations.LOG_CONCENTRATIONS in said:
        return uncertainty.of_dirichlet(said[expectations.LOG_CONCENTRATIONS]).data
    return said.get(expectations.EXPECTED_ENTROPY)


def judged(logits: FloatArray, labels: npt.NDArray[np.int64]) -> dict[str, float]:
    """Returns NLL, accuracy, ECE and Brier score."""
    return {
        "nll": metrics.nll(logits, labels),
        "accuracy": metrics.accuracy(logits, labels),
        "ece": metrics.ece(logits, labels),
        "brier": metrics.brier(logits, labels),
    }


def _to_the_chain(logits: FloatArray | None, truth: Truth) -> dict[str, float]:
    """Returns distances to the chain's mean prediction."""
    if logits is None:
        return dict.fromkeys(("cross_entropy", "kl", "probability_mae"), math.nan)
    theirs = np.asarray(truth.log_probabilities, np.float64)
    ours, p = np.asarray(logits, np.float64), np.exp(theirs)
    cross = float(-(p * ours).sum(axis=1).mean())
    return {
        "cross_entropy": cross,
        "kl": cross - float(uncertainty.entropy(theirs).mean()),
        "probability_mae": float(np.abs(p - np.exp(ours)).mean()),
    }


def read(
    network: keras.Model, expectation: Expectation, images: npt.NDArray[np.float32]
) -> dict[str, FloatArray]:
    """Returns what a student says of images, by the names of `expectations`."""
    starts = range(0, len(images), CHUNK)
    parts = [network(images[s : s + CHUNK], training=False) for s in starts]
    said = expectation.read(tf.concat(parts, axis=0))
    return {name: values.numpy() for name, values in said.items()}
