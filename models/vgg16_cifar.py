"""The VGG-16 for CIFAR: 13 convolutions and one dense layer before the logits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import tf_keras as keras

from models import parts

WIDTHS = (*(64, 64, 128, 128, 256, 256, 256), *[512] * 6, 512)
POOLED = (2, 4, 7, 10, 13)
"""The convolutions followed by pooling."""


def build(
    input_shape: tuple[int, ...],
    num_classes: int,
    *,
    widths: Sequence[int] = WIDTHS,
    width: float = 1.0,
    normalise: parts.Moments | Literal["auto"] | None = "auto",
    l1: float = 0.0,
    l2: float = 0.0,
) -> keras.Model:
    """Builds the network.

    Args:
        input_shape: Of one image, at least 32x32.
        num_classes: Number of logits.
        widths: Channels of c1 to c13, units of the dense layer l1.
        width: Factor on all of them.
        normalise: (mean, sd) by channel; None: pixels as they are; "auto": of CIFAR-10,
            if there are three channels.
        l1: Penalty l1 * sum |w| on each kernel but the last.
        l2: Penalty l2 * sum w^2 on each kernel but the last.

    Returns:
        The model, images -> logits [n, num_classes]; initialised Glorot-uniform.
    """
    parts.check_widths("widths", widths, (len(WIDTHS),))
    *filters, units = parts.scaled(widths, width)
    inputs = parts.images(input_shape, smallest=32)
    x = parts.normalised(inputs, normalise, parts.CIFAR)
    for i, channels in enumerate(filters, start=1):
        regularizer = parts.penalty(l1, l2)
        x = parts.conv(x, channels, 3, f"c{i}", kernel_regularizer=regularizer)
        x = parts.norm_relu(x, f"c{i}")
        if i in POOLED:
            x = keras.layers.MaxPooling2D(name=f"c{i}_pool")(x)
    x = keras.layers.Flatten(name="flatten")(x)
    x = keras.layers.Dense(units, kernel_regularizer=parts.penalty(l1, l2), name="l1")(
        x
    )
    logits = keras.layers.Dense(num_classes, name="logits")(x)
    return keras.Model(inputs, logits, name="vgg16_cifar")
