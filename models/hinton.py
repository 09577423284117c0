"""The perceptrons of data-free distillation: 784-1200-1200-10 and 784-800-800-10.

The larger one, the teacher, drops out; both are G. Hinton's pair of "Distilling the
Knowledge in a Neural Network", 2015.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tf_keras as keras

from models import parts


def build(
    input_shape: tuple[int, ...],
    num_classes: int,
    *,
    widths: Sequence[int] = (1200, 1200),
    dropout: Sequence[float] = (0.2, 0.5, 0.5),
    init: parts.Init = "he",
) -> keras.Model:
    """Builds the perceptron.

    Args:
        input_shape: Of one image; any rank, flattened.
        num_classes: Number of logits.
        widths: Units of each hidden layer.
        dropout: Rate on the pixels and after each hidden layer, or () for none.
        init: he: variance 2 / fan in, no biases; original: truncated normal of standard
            deviation 1, biases .1, as published, which makes logits of hundreds.

    Returns:
        The model, images -> logits [n, num_classes].

    Raises:
        ValueError: If there is not one rate for each place.
    """
    if len(dropout) not in {0, len(widths) + 1}:
        raise ValueError(
            f"dropout: got {tuple(dropout)}, expected none or {len(widths) + 1} rates"
        )
    rates = list(dropout) or [0.0] * (len(widths) + 1)
    inputs = keras.Input(input_shape, name="images")
    x = keras.layers.Flatten(name="flatten")(inputs)
    x = _dropped(x, rates[0], "drop_images")
    for i, (width, rate) in enumerate(zip(widths, rates[1:], strict=True), start=1):
        started = parts.initial(init, sd=1.0, bias=0.1)
        x = keras.layers.Dense(width, "relu", name=f"hidden_{i}", **started)(x)
        x = _dropped(x, rate, f"drop_{i}")
    started = parts.initial(init, sd=1.0, bias=0.1)
    logits = keras.layers.Dense(num_classes, name="logits", **started)(x)
    return keras.Model(inputs, logits, name="hinton")


def _dropped(x: Any, rate: float, name: str) -> Any:
    return keras.layers.Dropout(rate, name=name)(x) if rate else x
