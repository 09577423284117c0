"""Losses between the logits of a student and of its teacher, in log space.

Each returns a value for every example [n], whose mean over the batch is the loss, and
takes the temperature T that divides both logits. None has the factor T^2 that keeps the
size of its gradients: whoever weights it against a loss at temperature 1 multiplies.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import tensorflow as tf

if TYPE_CHECKING:
    from tensorflow import Tensor

SMALLEST = 1e-12
"""Squared length below which a vector counts as zero: correlated with nothing."""


def kd(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Computes how far the student's soft predictions are from the teacher's.

    KL(p || q) = sum_c p_c (log p_c - log q_c), p = softmax(teacher / T),
    q = softmax(student / T). It is the cross entropy of soft targets less a constant,
    the teacher's entropy, so that it is 0 where both agree; its gradient with respect
    to the student's logits is (q - p) / T.

    G. Hinton, O. Vinyals, J. Dean, "Distilling the Knowledge in a Neural Network",
    2015, section 2, equations 1 and 2.

    Args:
        student: Logits [n, classes], float.
        teacher: Logits [n, classes], float.
        temperature: T, above 0.

    Returns:
        Loss [n] in nats.
    """
    log_p = tf.nn.log_softmax(teacher / temperature)
    log_q = tf.nn.log_softmax(student / temperature)
    return _divergence(log_p, log_q)


def reversed_kd(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Computes the cross entropy with both roles exchanged: -sum_c q_c log p_c.

    The published code of deep-parsimonious-cnn does this. It is least where the student
    puts all its weight on the teacher's first choice, not where both agree: kept to
    measure what the slip costs.

    Args:
        student: Logits [n, classes], float.
        teacher: Logits [n, classes], float.
        temperature: T, above 0.

    Returns:
        Loss [n] in nats.
    """
    log_p = tf.nn.log_softmax(teacher / temperature)
    q = tf.nn.softmax(student / temperature)
    return -tf.reduce_sum(q * log_p, axis=-1)


def dkd(
    student: Tensor,
    teacher: Tensor,
    temperature: float,
    labels: Tensor,
    alpha: float = 1.0,
    beta: float = 8.0,
) -> Tensor:
    """Computes decoupled distillation: alpha * target class + beta * the other classes.

    Target class: KL between the two-way distributions (p_t, 1 - p_t); other classes: KL
    between the distributions over all classes but the label. With alpha = 1 and
    beta = 1 - p_t of the teacher it is `kd`.

    B. Zhao et al., "Decoupled Knowledge Distillation", CVPR 2022, equations 6 and 7.

    Args:
        student: Logits [n, classes], float.
        teacher: Logits [n, classes], float.
        temperature: T, above 0.
        labels: The target classes, int [n].
        alpha: Weight of the target class.
        beta: Weight of the other classes.

    Returns:
        Loss [n] in nats.
    """
    is_target = tf.cast(tf.one_hot(labels, student.shape[-1]), tf.bool)
    split_p, log_p = _decouple(teacher / temperature, is_target)
    split_q, log_q = _decouple(student / temperature, is_target)
    # What stands at the target is no logarithm of a probability: it has no weight.
    others = tf.where(is_target, tf.zeros_like(log_p), tf.exp(tf.minimum(log_p, 0.0)))
    among_others = tf.reduce_sum(others * (log_p - log_q), axis=-1)
    return alpha * _divergence(split_p, split_q) + beta * among_others


def _decouple(logits: Tensor, is_target: Tensor) -> tuple[Tensor, Tensor]:
    """Splits a prediction.

    Returns:
        log (p_t, 1 - p_t) [n, 2]; and the logits less the log of the sum over the other
        classes [n, classes]: at those, their log probability among themselves.
    """
    target = tf.reduce_sum(tf.where(is_target, logits, tf.zeros_like(logits)), axis=-1)
    others = tf.where(is_target, -float("inf") * tf.ones_like(logits), logits)
    rest = tf.reduce_logsumexp(others, axis=-1)
    pair = tf.nn.log_softmax(tf.stack([target, rest], axis=-1))
    return pair, logits - rest[:, None]


def dist(
    student: Tensor,
    teacher: Tensor,
    temperature: float,
    beta: float = 1.0,
    gamma: float = 1.0,
) -> Tensor:
    """Computes distillation by correlation: beta * inter-class + gamma * intra-class.

    1 - Pearson correlation between softmax(student / T) and softmax(teacher / T): along
    the classes of each example (inter), and along the examples of each class, its mean
    over the classes (intra). A vector that does not vary is correlated with nothing.

    T. Huang et al., "Knowledge Distillation from A Stronger Teacher", NeurIPS 2022,
    section 3 (inter-class and intra-class relation).

    Args:
        student: Logits [n, classes], float: the whole batch.
        teacher: Logits [n, classes], float.
        temperature: T, above 0.
        beta: Weight of the inter-class part.
        gamma: Weight of the intra-class part, which all examples share.

    Returns:
        Loss [n], without unit.
    """
    p = tf.nn.softmax(teacher / temperature)
    q = tf.nn.softmax(student / temperature)
    inter = 1 - _correlation(p, q, axis=1)
    intra = 1 - tf.reduce_mean(_correlation(p, q, axis=0))
    return beta * inter + gamma * intra


def attributes(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Computes `kd` of two-way predictions, one for each attribute, and their mean.

    p = sigmoid(teacher / T), q = sigmoid(student / T): a softmax over attributes, of
    which an example has any number, would make them compete.

    Args:
        student: Logits [n, attributes], float.
        teacher: Logits [n, attributes], float.
        temperature: T, above 0.

    Returns:
        Loss [n] in nats.
    """
    log_p, log_q = (
        tf.math.log_sigmoid(tf.stack([logits, -logits], axis=-1) / temperature)
        for logits in (teacher, student)
    )
    return tf.reduce_mean(_divergence(log_p, log_q), axis=-1)


def _correlation(p: Tensor, q: Tensor, axis: int) -> Tensor:
    directions = [
        tf.math.l2_normalize(x - tf.reduce_mean(x, axis, True), axis, SMALLEST)
        for x in (p, q)
    ]
    return tf.reduce_sum(directions[0] * directions[1], axis)


def _divergence(log_p: Tensor, log_q: Tensor) -> Tensor:
    """Returns KL(p || q) [...] in nats, of log probabilities [..., classes]."""
    return tf.reduce_sum(tf.exp(log_p) * (log_p - log_q), axis=-1)


def mix(logits: Tensor, temperature: float) -> Tensor:
    """Averages the predictions of several teachers at a temperature.

    Args:
        logits: [n, teachers, classes], float.
        temperature: T, above 0.

    Returns:
        Logits [n, classes] whose softmax at T is the mean of the teachers' softmax at
        T.
    """
    log_p = tf.nn.log_softmax(logits / temperature)
    count = tf.cast(tf.shape(logits)[1], logits.dtype)
    return temperature * (tf.reduce_logsumexp(log_p, axis=1) - tf.math.log(count))


SOFT_LOSSES: dict[str, Callable[..., Tensor]] = {
    "kd": kd,
    "reversed_kd": reversed_kd,
    "dkd": dkd,
    "dist": dist,
    "attributes": attributes,
}
"""Loss by the name that the Distiller knows it by."""
LABELLED = ("dkd",)
"""Those that take the labels, too."""
BATCHWISE = ("dist",)
"""Those whose value for an example depends on the others of its batch."""
