"""Optimisers, courses of the learning rate, and what decays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf
import tf_keras as keras

from network_pruning.milestones import fall_epoch


def decaying(network: keras.Model) -> list[tf.Variable]:
    """Returns the weights that weight decay is for: the trainable kernels.

    Never biases, and never what normalisers and activations learn.
    """
    return [
        weight
        for weight in network.trainable_weights
        if weight.name.split("/")[-1].split(":")[0].endswith("kernel")
    ]


def adam(network: keras.Model, rate: Any, weight_decay: float = 0.0) -> Any:
    """Returns Adam, its weight decay decoupled: w <- w - rate * weight_decay * w.

    I. Loshchilov, F. Hutter, "Decoupled Weight Decay Regularization", ICLR 2019.

    Args:
        network: Whose kernels decay.
        rate: Number or schedule.
        weight_decay: 0 for none.
    """
    if not weight_decay:
        return keras.optimizers.Adam(rate)
    optimizer = keras.optimizers.Adam(rate, weight_decay=weight_decay)
    kept = {id(weight) for weight in decaying(network)}
    optimizer.exclude_from_weight_decay([
        weight for weight in network.trainable_weights if id(weight) not in kept
    ])
    return optimizer


def scaled(optimizer: Any, network: keras.Model) -> Any:
    """Returns an optimiser under which gradients in float16 do not become zero.

    Args:
        optimizer: Of Keras.
        network: Whose layers may compute in float16, whatever the policy is now.
    """
    if all(layer.compute_dtype != "float16" for layer in network._flatten_layers()):
        return optimizer
    return keras.mixed_precision.LossScaleOptimizer(optimizer)


def variables(optimizer: Any) -> list[tf.Variable]:
    """Returns all that an optimiser goes on from, its loss scale included."""
    if not isinstance(optimizer, keras.mixed_precision.LossScaleOptimizer):
        return list(optimizer.variables)
    scale = optimizer._loss_scale
    return [*optimizer.variables, scale.current_loss_scale, scale.counter]


def make_rate(
    course: str,
    rate: float,
    epochs: int,
    steps: int,
    milestones: Sequence[float] = (),
    factor: float = 0.1,
    warmup: int = 0,
) -> Any:
    """Returns a learning rate: a number, or a schedule over the steps.

    Args:
        course: constant; cosine, half of one down to zero; step, times `factor` after
            each of the milestones.
        rate: The highest.
        epochs: Of the whole training.
        steps: Of an epoch.
        milestones: Epochs; below 1, shares of all epochs (rounded to whole ones).
        factor: Of the step course.
        warmup: Epochs in which a line from 0 to 1 multiplies the course.
    """
    chosen: Any = rate
    if course == "cosine":
        chosen = keras.optimizers.schedules.CosineDecay(rate, epochs * steps)
    if course == "step":
        ends = sorted(fall_epoch(milestone, epochs) for milestone in milestones)
        chosen = keras.optimizers.schedules.PiecewiseConstantDecay(
            [end * steps - 1 for end in ends],
            [rate * factor**passed for passed in range(len(ends) + 1)],
        )
    return Warmup(chosen, warmup * steps) if warmup else chosen


class Warmup(keras.optimizers.schedules.LearningRateSchedule):
    """A learning rate under a line that rises to 1; the first step is 1 / steps."""

    def __init__(self, rate: Any, steps: int) -> None:
        self.rate, self.steps = rate, steps

    def __call__(self, step: Any) -> tf.Tensor:
        """Returns the rate of a step, counted from 0."""
        rate = self.rate(step) if callable(self.rate) else self.rate
        share = (tf.cast(step, tf.float32) + 1) / self.steps
        return tf.cast(rate, tf.float32) * tf.minimum(share, 1.0)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments."""
        return {"rate": self.rate, "steps": self.steps}
