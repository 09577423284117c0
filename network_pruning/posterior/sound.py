"""Whether what a chain predicts can be learned from."""

from __future__ import annotations

import tensorflow as tf

from network_pruning.training import DivergedError


def is_sound(said: tf.Tensor) -> tf.Tensor:
    """Returns whether all log-probabilities are numbers, bool []."""
    return tf.reduce_all(tf.math.is_finite(said))


def check_sound(sound: tf.Tensor, step: int) -> None:
    """Judges a chain by its predictions.

    Args:
        sound: What `is_sound` said of them.
        step: Of the chain.

    Raises:
        DivergedError: If some were no numbers.
    """
    if not bool(sound):
        raise DivergedError(
            f"the chain's predictions are no numbers at step {step}: lower the step "
            "size"
        )
