"""Courses of a chain's step size: a number, or a function of the step from 0 on."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import tensorflow as tf

from network_pruning.ranges import check_above

if TYPE_CHECKING:
    from tensorflow import Tensor

StepSize = float | Callable[["Tensor"], "Tensor"]


def decaying(first: float, offset: float, power: float = 0.55) -> StepSize:
    """Returns a step size that falls as a power of the step.

    eta_t = first * (1 + t / offset)^-power. M. Welling, Y. W. Teh, "Bayesian Learning
    via Stochastic Gradient Langevin Dynamics", ICML 2011, section 3, where it is
    a * (b + t)^-gamma with a = first * offset^power and b = offset.

    Args:
        first: Of step 0.
        offset: Steps after which the fall begins to show.
        power: In (0.5, 1], so that the steps sum to infinity and their squares do not.

    Returns:
        Step from 0 on -> step size.

    Raises:
        ValueError: If a number is out of range.
    """
    check("first", first)
    check("offset", offset)
    if not 0.5 < power <= 1:
        raise ValueError(f"power: got {power}, expected a number in (0.5, 1]")

    def size(step: Tensor) -> Tensor:
        return first * (1 + tf.cast(step, tf.float32) / offset) ** -power

    return size


def at(step_size: StepSize, step: Tensor) -> Tensor:
    """Returns the step size of a step, float32."""
    size = step_size(step) if callable(step_size) else step_size
    return tf.cast(size, tf.float32)


def check(name: str, value: StepSize) -> None:
    """Judges a step size, or another number that must be positive.

    Raises:
        ValueError: If it is a number that is not positive and finite.
    """
    if not callable(value):
        check_above({name: value})
