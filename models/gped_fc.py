"""The perceptron of posterior expectation distillation: 784-400-400-10.

478 410 parameters as the teacher; students have other widths, dropout or heads.
"""

from __future__ import annotations

from collections.abc import Sequence

import tf_keras as keras

from models import parts

WIDTHS = (400, 400)


def build(
    input_shape: tuple[int, ...],
    num_classes: int,
    *,
    widths: Sequence[int] = WIDTHS,
    dropout: float = 0.0,
    head: parts.Head = "softmax",
) -> keras.Model:
    """Builds the perceptron.

    Args:
        input_shape: Of one image; any rank, flattened.
        num_classes: Number of classes.
        widths: Units of each hidden layer.
        dropout: Rate after the first hidden layer, as published.
        head: What the linear outputs are for, see `parts.outputs_of`.

    Returns:
        The model, images -> outputs [n, outputs of the head]; weights and biases start
        uniform within 1 / sqrt(fan in), as PyTorch's.
    """
    outputs = parts.outputs_of(head, num_classes)
    inputs = keras.Input(input_shape, name="images")
    x = keras.layers.Flatten(name="flatten")(inputs)
    for i, width in enumerate(widths, start=1):
        started = parts.uniform_by_fan_in(x.shape[-1])
        x = keras.layers.Dense(width, "relu", name=f"hidden_{i}", **started)(x)
        if dropout and i == 1:
            x = keras.layers.Dropout(dropout, name="drop_1")(x)
    started = parts.uniform_by_fan_in(x.shape[-1])
    x = keras.layers.Dense(outputs, name="logits", **started)(x)
    return keras.Model(inputs, x, name="gped_fc")
