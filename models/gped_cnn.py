"""The convolutional networks of posterior expectation distillation, for two datasets.

mnist: two 4x4 convolutions of 10 and 20 channels, a dense layer of 80; 29 880
parameters. cifar: two 5x5 convolutions of 16 and 32, dense layers of 200 and 50;
184 808 parameters.
"""

from __future__ import annotations

from typing import Literal

import tf_keras as keras

from models import parts

SIZES = {
    "mnist": (4, (10, 20), (80,)),
    "cifar": (5, (16, 32), (200, 50)),
}
"""Dataset -> size of the kernels, channels, dense units."""
SMALLEST = {"mnist": 13, "cifar": 16}
"""Pixels a side, so that something is left to pool."""


def build(
    input_shape: tuple[int, ...],
    num_classes: int,
    *,
    dataset: Literal["mnist", "cifar"] = "mnist",
    multiplication_factor_1: float = 1.0,
    multiplication_factor_2: float = 1.0,
    dropout: float = 0.0,
    head: parts.Head = "softmax",
) -> keras.Model:
    """Builds the network.

    Args:
        input_shape: Of one image.
        num_classes: Number of classes.
        dataset: Which of the two.
        multiplication_factor_1: On the channels of the convolutions, rounded down.
        multiplication_factor_2: On the units of the hidden dense layers, rounded down.
        dropout: Rate after each pooling (of whole channels) and hidden dense layer.
        head: What the linear outputs are for, see `parts.outputs_of`.

    Returns:
        The model, images -> outputs [n, outputs of the head]; weights and biases start
        uniform within 1 / sqrt(fan in), as PyTorch's.
    """
    outputs = parts.outputs_of(head, num_classes)
    size, channels, units = SIZES[dataset]
    filters = parts.floored(channels, multiplication_factor_1)
    widths = parts.floored(units, multiplication_factor_2)
    x = inputs = parts.images(input_shape, smallest=SMALLEST[dataset])
    for i, width in enumerate(filters, start=1):
        started = parts.uniform_by_fan_in(size * size * x.shape[-1])
        x = keras.layers.Conv2D(width, size, name=f"conv_{i}", **started)(x)
        x = keras.layers.ReLU(name=f"relu_{i}")(x)
        x = keras.layers.MaxPooling2D(name=f"pool_{i}")(x)
        if dropout:
            x = keras.layers.SpatialDropout2D(dropout, name=f"drop_conv_{i}")(x)
    x = keras.layers.Flatten(name="flatten")(x)
    for i, width in enumerate(widths, start=1):
        started = parts.uniform_by_fan_in(x.shape[-1])
        x = keras.layers.Dense(width, "relu", name=f"hidden_{i}", **started)(x)
        if dropout:
            x = keras.layers.Dropout(dropout, name=f"drop_{i}")(x)
    started = parts.uniform_by_fan_in(x.shape[-1])
    x = keras.layers.Dense(outputs, name="logits", **started)(x)
    return keras.Model(inputs, x, name=f"gped_cnn_{dataset}")
