"""Epochs at which a step size falls, as the flags name them; needs no TensorFlow."""

from __future__ import annotations


def fall_epoch(milestone: float, epochs: int) -> int:
    """Returns the epoch after which the step size falls.

    Args:
        milestone: An epoch; below 1, a share of all epochs, rounded to a whole one.
        epochs: Of the whole training.
    """
    return round(milestone * epochs) if milestone < 1 else round(milestone)
