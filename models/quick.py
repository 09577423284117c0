"""The small network of parsimonious training: three convolutions, two dense layers.

32-32-64 filters of 5x5 for the teacher, 32-16-32 for the student. The dense layers are
linear, as published: between them they compute what one could.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy.typing as npt
import tf_keras as keras

from models import parts

DENSE_SD = 0.1
"""Of dense kernels under init=original, in every published setting."""


def build(
    input_shape: tuple[int, ...],
    num_classes: int,
    *,
    filters: Sequence[int] = (32, 32, 64),
    fc_activation: Literal["linear", "relu"] = "linear",
    dropout: float = 0.0,
    mean: npt.ArrayLike | None = None,
    init: parts.Init = "he",
    conv_sd: float = 0.01,
) -> keras.Model:
    """Builds the network.

    Args:
        input_shape: Of one image, at least 8x8.
        num_classes: Number of logits.
        filters: Of the three convolutions.
        fc_activation: Of fc1.
        dropout: Rate on what each dense layer reads.
        mean: Image that is subtracted from every image, of `input_shape`: that of the
            training split; None: pixels as they are.
        init: he: He-normal convolutions, Glorot-uniform dense layers; original:
            truncated normals. Biases of zero in both.
        conv_sd: Standard deviation of the convolutions under init=original: .01 for
            CIFAR-10, .1 for CIFAR-100; of dense layers it is .1.

    Returns:
        The model, images -> logits [n, num_classes].

    Raises:
        ValueError: If an option is unfit.
    """
    parts.check_widths("filters", filters, (3,))
    parts.check_choice("fc_activation", fc_activation, ("linear", "relu"))
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout: got {dropout}, expected a rate in [0,1)")
    inputs = parts.images(input_shape, smallest=8)
    x = parts.centred(inputs, mean)
    pools = (
        keras.layers.MaxPooling2D,
        keras.layers.AveragePooling2D,
        keras.layers.AveragePooling2D,
    )
    for i, (channels, pool) in enumerate(zip(filters, pools, strict=True), start=1):
        started = parts.initial(init, sd=conv_sd)
        x = parts.conv(x, channels, 5, f"conv{i}", **started)
        x = keras.layers.ReLU(name=f"conv{i}_relu")(x)
        x = pool(3, 2, padding="same", name=f"conv{i}_pool")(x)
    x = keras.layers.Flatten(name="flatten")(x)
    x = _dense(_dropped(x, dropout, "drop1"), 64, "fc1", init, fc_activation)
    x = _dense(_dropped(x, dropout, "drop2"), num_classes, "logits", init)
    return keras.Model(inputs, x, name="quick")


def _dense(
    x: Any, units: int, name: str, init: parts.Init, activation: str = "linear"
) -> Any:
    started = {} if init == "he" else parts.initial(init, sd=DENSE_SD)
    return keras.layers.Dense(units, activation, name=name, **started)(x)


def _dropped(x: Any, rate: float, name: str) -> Any:
    return keras.layers.Dropout(rate, name=name)(x) if rate else x
