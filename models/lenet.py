"""LeNet-5 for 32x32 images: 6-16-120-84, as data-free distillation takes it."""

from __future__ import annotations

from collections.abc import Sequence

import tf_keras as keras

from models import parts


def build(
    input_shape: tuple[int, ...],
    num_classes: int,
    *,
    filters: Sequence[int] = (6, 16),
    init: parts.Init = "he",
) -> keras.Model:
    """Builds the network.

    Args:
        input_shape: Of one image, at least 16x16.
        num_classes: Number of logits.
        filters: Of the two convolutions.
        init: he: variance 2 / fan in; original: truncated normal of standard deviation
            .1. No biases in either.

    Returns:
        The model, images -> logits [n, num_classes].
    """
    parts.check_widths("filters", filters, (2,))
    x = inputs = parts.images(input_shape, smallest=16)
    for i, channels in enumerate(filters, start=1):
        started = parts.initial(init, sd=0.1)
        x = keras.layers.Conv2D(
            channels, 5, activation="relu", name=f"c{i}", **started
        )(x)
        x = keras.layers.MaxPooling2D(name=f"c{i}_pool")(x)
    x = keras.layers.Flatten(name="flatten")(x)
    for i, units in enumerate((120, 84), start=1):
        started = parts.initial(init, sd=0.1)
        x = keras.layers.Dense(units, "relu", name=f"f{i}", **started)(x)
    started = parts.initial(init, sd=0.1)
    logits = keras.layers.Dense(num_classes, name="logits", **started)(x)
    return keras.Model(inputs, logits, name="lenet")
