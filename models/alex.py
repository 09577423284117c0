"""AlexNet for 224x224 images, as data-free distillation has it: all padded "same"."""

from __future__ import annotations

import tf_keras as keras

from models import parts

# Filters, side of the kernel, stride, whether it is pooled.
CONVOLUTIONS = (
    (64, 11, 4, True),
    (192, 5, 1, True),
    (384, 3, 1, False),
    (384, 3, 1, False),
    (256, 3, 1, True),
)
UNITS = 4096


def build(
    input_shape: tuple[int, ...],
    num_classes: int,
    *,
    width: float = 1.0,
    init: parts.Init = "he",
    dropout: float = 0.5,
) -> keras.Model:
    """Builds the network.

    Args:
        input_shape: Of one image.
        num_classes: Number of logits.
        width: Factor on all filters and units; alex_half has 0.5.
        init: he: variance 2 / fan in; original: a truncated normal that was meant to be
            the same, and biases .01.
        dropout: Rate after each of the two hidden dense layers.

    Returns:
        The model, images -> logits [n, num_classes].
    """
    filters = parts.scaled([each[0] for each in CONVOLUTIONS], width)
    (units,) = parts.scaled([UNITS], width)
    x = inputs = parts.images(input_shape)
    for i, (_, size, stride, pooled) in enumerate(CONVOLUTIONS, start=1):
        x = keras.layers.Conv2D(
            filters[i - 1],
            size,
            stride,
            padding="same",
            activation="relu",
            name=f"c{i}",
            **parts.initial(init, bias=0.01),
        )(x)
        if pooled:
            x = keras.layers.MaxPooling2D(3, 2, padding="same", name=f"c{i}_pool")(x)
    x = keras.layers.Flatten(name="flatten")(x)
    for i in (6, 7):
        started = parts.initial(init, bias=0.01)
        x = keras.layers.Dense(units, "relu", name=f"f{i}", **started)(x)
        x = keras.layers.Dropout(dropout, name=f"drop_{i}")(x)
    started = parts.initial(init, bias=0.01)
    logits = keras.layers.Dense(num_classes, name="logits", **started)(x)
    return keras.Model(inputs, logits, name="alex")
