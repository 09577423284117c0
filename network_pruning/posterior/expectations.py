"""What a student learns: functions of a prediction, whose posterior means it tells.

An `Expectation` is plugged into a student: what is averaged over the posterior, what
the student's outputs mean, and how far they are from an estimate of the average. All is
a function of log-probabilities, and of outputs that are linear: the student's softmax
or exponential is part of reading them, as in every network here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import tensorflow as tf

from network_pruning.ranges import check_above

if TYPE_CHECKING:
    from tensorflow import Tensor

    Target = Callable[[Tensor], Tensor]
    Loss = Callable[[Tensor, Tensor], Tensor]
    Read = Callable[[Tensor], dict[str, Tensor]]

LOG_PROBABILITIES = "log_probabilities"
EXPECTED_ENTROPY = "expected_entropy"
VARIANCE = "variance"
MUTUAL_INFORMATION = "mutual_information"
LOG_CONCENTRATIONS = "log_concentrations"
VALUES = "values"


@dataclass(frozen=True)
class Expectation:
    """A function of the prediction, and the head of the student that learns its mean.

    Attributes:
        name: Of it.
        target: log p(y | x, theta) [n, classes] -> values [n, d] of one draw theta.
        loss: (estimate of the mean of the values [n, d], outputs [n, width]) -> loss of
            each case [n].
        width: Number of classes -> outputs that the student must have.
        read: Outputs -> what they say by name, see the constants of this module.
    """

    name: str
    target: Target
    loss: Loss
    width: Callable[[int], int]
    read: Read

    def check(self, outputs: int, classes: int, student: str) -> int:
        """Judges what is learned, and a student's head.

        Returns:
            d, how many values of each case are averaged.

        Raises:
            ValueError: If the head has not as many outputs as it has to tell, or values
                or losses have other shapes than [n, d] and [n].
        """
        values = self.target(tf.fill([2, classes], -tf.math.log(float(classes))))
        if values.shape.rank != 2 or values.shape[0] != 2:
            raise ValueError(
                f"expectation {self.name}: got values {values.shape} of 2 cases, "
                "expected [n, d]"
            )
        if outputs != self.width(classes):
            raise ValueError(
                f"student {student!r}: got {outputs} outputs, expected "
                f"{self.width(classes)} linear ones to learn {self.name} of {classes} "
                "classes"
            )
        each = self.loss(values, tf.zeros([2, outputs]))
        if each.shape != [2]:
            raise ValueError(
                f"expectation {self.name}: got losses {each.shape} of 2 cases, "
                "expected [n]"
            )
        return int(values.shape[-1])


def predictive_mean(temperature: float = 1.0) -> Expectation:
    """Returns E[p(y | x, theta)], the posterior predictive; the student has logits.

    The loss is the cross entropy -sum_c p_c log q_c.

    Args:
        temperature: Divides the logits of both sides while the student learns; what it
            says afterwards is read at 1.

    Raises:
        ValueError: If the temperature is not positive.
    """
    check_above({"temperature": temperature})

    def target(log_probabilities: Tensor) -> Tensor:
        return tf.nn.softmax(log_probabilities / temperature)

    def loss(mean: Tensor, outputs: Tensor) -> Tensor:
        return tf.nn.softmax_cross_entropy_with_logits(mean, outputs / temperature)

    def read(outputs: Tensor) -> dict[str, Tensor]:
        return {LOG_PROBABILITIES: tf.nn.log_softmax(outputs)}

    return Expectation("predictive", target, loss, lambda classes: classes, read)


def expected_entropy() -> Expectation:
    """Returns E[H(p)], the data uncertainty in nats; one output, its logarithm.

    The loss is |h - h'|.
    """

    def loss(mean: Tensor, outputs: Tensor) -> Tensor:
        return tf.abs(mean - tf.exp(outputs))[:, 0]

    def read(outputs: Tensor) -> dict[str, Tensor]:
        return {EXPECTED_ENTROPY: tf.exp(outputs)[:, 0]}

    return Expectation("entropy", _entropy, loss, lambda classes: 1, read)


def predictive_and_entropy() -> Expectation:
    """Returns both in one student: logits, and behind them the logarithm of E[H(p)].

    The loss is the sum of the two. What the student does not know of the posterior is
    what remains of its total uncertainty: the mutual information H(E[p]) - E[H(p)],
    which is no mean of a function of one prediction, and is derived.
    """
    predictive, entropy = predictive_mean(), expected_entropy()

    def target(log_probabilities: Tensor) -> Tensor:
        parts = predictive.target(log_probabilities), entropy.target(log_probabilities)
        return tf.concat(parts, axis=1)

    def loss(mean: Tensor, outputs: Tensor) -> Tensor:
        first = predictive.loss(mean[:, :-1], outputs[:, :-1])
        return first + entropy.loss(mean[:, -1:], outputs[:, -1:])

    def read(outputs: Tensor) -> dict[str, Tensor]:
        said = {**predictive.read(outputs[:, :-1]), **entropy.read(outputs[:, -1:])}
        total = _entropy(said[LOG_PROBABILITIES])[:, 0]
        return {**said, MUTUAL_INFORMATION: total - said[EXPECTED_ENTROPY]}

    return Expectation("both", target, loss, lambda classes: classes + 1, read)


def marginal_variance() -> Expectation:
    """Returns E[p (1 - p)] of each class; as many outputs, their logarithms.

    The loss is the sum of absolute differences.
    """

    def target(log_probabilities: Tensor) -> Tensor:
        p = tf.exp(log_probabilities)
        return p * (1 - p)

    def loss(mean: Tensor, outputs: Tensor) -> Tensor:
        return tf.reduce_sum(tf.abs(mean - tf.exp(outputs)), axis=1)

    def read(outputs: Tensor) -> dict[str, Tensor]:
        return {VARIANCE: tf.exp(outputs)}

    return Expectation("variance", target, loss, lambda classes: classes, read)


def dirichlet(temperature: float = 2.5) -> Expectation:
    """Returns E[log p], from which a student learns a Dirichlet law of the predictions.

    Ensemble distribution distillation: A. Malinin, B. Mlodozeniec, M. Gales, "Ensemble
    Distribution Distillation", ICLR 2020, section 3. The outputs are logarithms of
    concentrations, alpha = exp(outputs / temperature); the loss is the negative log
    likelihood -[ln G(sum alpha) - sum ln G(alpha_c) + sum (alpha_c - 1) E[ln p_c]].

    Args:
        temperature: Divides the logits of both sides while the student learns; what it
            says afterwards is read at 1.

    Raises:
        ValueError: If the temperature is not positive.
    """
    check_above({"temperature": temperature})

    def target(log_probabilities: Tensor) -> Tensor:
        return tf.nn.log_softmax(log_probabilities / temperature)

    def loss(mean: Tensor, outputs: Tensor) -> Tensor:
        alpha = tf.exp(outputs / temperature)
        total = tf.math.lgamma(tf.reduce_sum(alpha, axis=1))
        each = (alpha - 1) * mean - tf.math.lgamma(alpha)
        return -total - tf.reduce_sum(each, axis=1)

    def read(outputs: Tensor) -> dict[str, Tensor]:
        said = {LOG_CONCENTRATIONS: outputs}
        return {LOG_PROBABILITIES: tf.nn.log_softmax(outputs), **said}

    return Expectation("dirichlet", target, loss, lambda classes: classes, read)


def expected(function: Target, name: str = "", width: int | None = None) -> Expectation:
    """Returns the mean of any function of the prediction; linear outputs.

    The loss is the sum of absolute differences.

    Args:
        function: log-probabilities [n, classes] -> values [n, d], or [n].
        name: Of it; by default the function's own.
        width: d; by default what the function gives.

    Returns:
        The expectation.
    """

    def target(log_probabilities: Tensor) -> Tensor:
        values = tf.convert_to_tensor(function(log_probabilities))
        return values[:, None] if values.shape.rank == 1 else values

    def count(classes: int) -> int:
        probe = tf.fill([1, classes], -tf.math.log(float(classes)))
        given = int(target(probe).shape[-1])
        if width not in {None, given}:
            raise ValueError(f"width: got {width}, expected {given}, as {told} gives")
        return given

    def loss(mean: Tensor, outputs: Tensor) -> Tensor:
        return tf.reduce_sum(tf.abs(mean - outputs), axis=1)

    told = name or getattr(function, "__name__", "values")
    return Expectation(told, target, loss, count, lambda outputs: {VALUES: outputs})


EXPECTATIONS: dict[str, Callable[[], Expectation]] = {
    "predictive": predictive_mean,
    "entropy": expected_entropy,
    "both": predictive_and_entropy,
    "variance": marginal_variance,
    "dirichlet": dirichlet,
}
"""Name -> what makes the expectation with its usual settings."""


def get(expectation: str | Expectation | Target) -> Expectation:
    """Returns an expectation by name, as it is, or of any function.

    Raises:
        ValueError: If the name is unknown.
    """
    if isinstance(expectation, Expectation):
        return expectation
    if callable(expectation):
        return expected(expectation)
    if expectation not in EXPECTATIONS:
        raise ValueError(
            f"expectation: got {expectation!r}, expected one of "
            f"{', '.join(EXPECTATIONS)}, or a function of log-probabilities"
        )
    return EXPECTATIONS[expectation]()


ESTIMATORS = ("us", "uo")


def check_estimator(estimator: str) -> None:
    """Judges the name of an estimator.

    Raises:
        ValueError: If it is neither us nor uo.
    """
    if estimator not in ESTIMATORS:
        raise ValueError(
            f"estimator: got {estimator!r}, expected us (the last draw alone) or uo "
            "(the mean over draws, kept for each case)"
        )


def running_mean(mean: Tensor, count: Tensor, value: Tensor) -> Tensor:
    """Takes one more value into a mean: (m * mean + value) / (m + 1).

    The estimator Uo; with m = 0 it is Us, which keeps nothing.

    Args:
        mean: Of the values so far [n, ...].
        count: m, how many there were [n].
        value: The next [n, ...].

    Returns:
        Mean of m + 1 values [n, ...].
    """
    shape = [-1] + [1] * (value.shape.rank - 1)
    weight = tf.reshape(1 / (tf.cast(count, value.dtype) + 1), shape)
    return mean + (value - mean) * weight


def _entropy(log_probabilities: Tensor) -> Tensor:
    """Returns -sum p log p in nats [n, 1]."""
    each = tf.exp(log_probabilities) * log_probabilities
    return -tf.reduce_sum(each, axis=1, keepdims=True)
