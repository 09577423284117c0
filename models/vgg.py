"""VGG-16 and VGG-19 with their dense layers, untrained, without normalisation.

ImageNet weights come with VGG16 and VGG19, the networks of tf_keras.applications.
"""

from __future__ import annotations

import tf_keras as keras

from models import parts

BLOCKS = {16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
"""Depth -> convolutions in each block."""
FILTERS = (64, 128, 256, 512, 512)
UNITS = 4096


def build(
    input_shape: tuple[int, ...],
    num_classes: int,
    *,
    depth: int = 16,
    width: float = 1.0,
    dropout: float = 0.5,
) -> keras.Model:
    """Builds the network.

    Args:
        input_shape: Of one image, at least 32x32.
        num_classes: Number of logits.
        depth: 16 or 19.
        width: Factor on all filters and units.
        dropout: Rate after each of the two hidden dense layers.

    Returns:
        The model, images -> logits [n, num_classes]; initialised He-normal.
    """
    x = inputs = parts.images(input_shape, smallest=32)
    filters = parts.scaled(FILTERS, width)
    (units,) = parts.scaled([UNITS], width)
    for i, (count, channels) in enumerate(
        zip(BLOCKS[depth], filters, strict=True), start=1
    ):
        for j in range(1, count + 1):
            x = keras.layers.Conv2D(
                channels,
                3,
                padding="same",
                activation="relu",
                name=f"c{i}_{j}",
                **parts.initial("he"),
            )(x)
        x = keras.layers.MaxPooling2D(name=f"c{i}_pool")(x)
    x = keras.layers.Flatten(name="flatten")(x)
    for i in (6, 7):
        x = keras.layers.Dense(units, "relu", name=f"f{i}", **parts.initial("he"))(x)
        x = keras.layers.Dropout(dropout, name=f"drop_{i}")(x)
    logits = keras.layers.Dense(num_classes, name="logits", **parts.initial("he"))(x)
    return keras.Model(inputs, logits, name=f"vgg{depth}")
