"""The LeNet-5 of Dirichlet pruning: 10-20-100-25 for 28x28 images.

Each convolution is followed by pooling, ReLU and normalisation, in this order, and the
dense layers are linear, all as published.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import tf_keras as keras

from models import parts

WIDTHS = (10, 20, 100, 25)


def build(
    input_shape: tuple[int, ...],
    num_classes: int,
    *,
    widths: Sequence[int] = WIDTHS,
    width: float = 1.0,
    fc_activation: Literal["linear", "relu"] = "linear",
    normalise: parts.Moments | Literal["auto"] | None = None,
    l1: float = 0.0,
    l2: float = 0.0,
) -> keras.Model:
    """Builds the network.

    Args:
        input_shape: Of one image, at least 16x16.
        num_classes: Number of logits.
        widths: Channels of c1 and c3, units of c5 and f6.
        width: Factor on all of them.
        fc_activation: Of c5 and f6.
        normalise: (mean, sd) by channel; None or "auto": pixels as they are.
        l1: Penalty l1 * sum |w| on each kernel but the last.
        l2: Penalty l2 * sum w^2 on each kernel but the last.

    Returns:
        The model, images -> logits [n, num_classes]; initialised Glorot-uniform.
    """
    parts.check_widths("widths", widths, (4,))
    parts.check_choice("fc_activation", fc_activation, ("linear", "relu"))
    c1, c3, c5, f6 = parts.scaled(widths, width)
    inputs = parts.images(input_shape, smallest=16)
    x = parts.normalised(inputs, normalise, usual=((), ()))
    for name, filters in (("c1", c1), ("c3", c3)):
        x = keras.layers.Conv2D(
            filters, 5, kernel_regularizer=parts.penalty(l1, l2), name=name
        )(x)
        x = keras.layers.MaxPooling2D(name=f"{name}_pool")(x)
        x = keras.layers.ReLU(name=f"{name}_relu")(x)
        x = parts.batch_norm(f"{name}_norm")(x)
    x = keras.layers.Flatten(name="flatten")(x)
    for name, units in (("c5", c5), ("f6", f6)):
        x = keras.layers.Dense(
            units,
            activation=fc_activation,
            kernel_regularizer=parts.penalty(l1, l2),
            name=name,
        )(x)
    logits = keras.layers.Dense(num_classes, name="out7")(x)
    return keras.Model(inputs, logits, name="lenet5")
