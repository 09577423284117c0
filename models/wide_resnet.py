"""The wide residual network of Zagoruyko and Komodakis: pre-activation, dropout.

As in the code that Dirichlet pruning used: biases in every convolution, the stride in
the second one of a block, a 1x1 convolution wherever the shape changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import tf_keras as keras

from models import parts

STEM = 16


def build(
    input_shape: tuple[int, ...],
    num_classes: int,
    *,
    depth: int = 28,
    widen: float = 10,
    dropout: float = 0.3,
    width: float = 1.0,
    inner: Sequence[int] | None = None,
    normalise: parts.Moments | Literal["auto"] | None = "auto",
    l1: float = 0.0,
    l2: float = 0.0,
) -> keras.Model:
    """Builds the network.

    Args:
        input_shape: Of one image.
        num_classes: Number of logits.
        depth: 6n + 4 for n blocks in a stage.
        widen: The stages have 16, 32 and 64 times this many channels.
        dropout: Rate inside each block, in [0, 1).
        width: Factor on all channels, the 16 of the stem too.
        inner: Channels of the first convolution of the blocks, one number to a stage or
            one to a block, `width` left out; None: those of the stage.
        normalise: (mean, sd) by channel; None: pixels as they are; "auto": of CIFAR-10,
            if there are three channels.
        l1: Penalty l1 * sum |w| on each kernel but the last.
        l2: Penalty l2 * sum w^2 on each kernel but the last.

    Returns:
        The model, images -> logits [n, num_classes]; convolutions initialised
        Glorot-uniform times sqrt(2).

    Raises:
        ValueError: If there is no such depth.
    """
    if depth < 10 or depth % 6 != 4:
        raise ValueError(
            f"depth: got {depth}, expected 6n + 4 for n >= 1: 10, 16, 22, 28, ..."
        )
    options: dict[str, Any] = {
        "kernel_initializer": parts.variance_scaling("fan_avg", "uniform"),
        "kernel_regularizer": parts.penalty(l1, l2),
    }
    (stem,) = parts.scaled([STEM], width)
    widened = parts.scaled([STEM, 2 * STEM, 4 * STEM], widen, "widen")
    widths = parts.scaled(widened, width)
    inside = parts.by_block(inner, widths, [(depth - 4) // 6] * len(widths))
    inputs = parts.images(input_shape)
    x = parts.normalised(inputs, normalise, parts.CIFAR)
    x = parts.conv(x, stem, 3, "stem_conv", **options)
    for i, (channels, middles) in enumerate(zip(widths, inside, strict=True), start=1):
        for j, middle in enumerate(middles, start=1):
            strides = 2 if i > 1 and j == 1 else 1
            name = f"stage{i}_block{j}"
            x = _block(x, channels, middle, strides, name, dropout, options)
    # The published momentum of the last normalisation is 0.9 in PyTorch's sense.
    x = parts.batch_norm("final_norm", momentum=0.1)(x)
    x = keras.layers.ReLU(name="final_relu")(x)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    logits = keras.layers.Dense(num_classes, name="logits")(x)
    return keras.Model(inputs, logits, name=f"wrn_{depth}_{widen:g}")


def _block(
    x: Any,
    channels: int,
    middle: int,
    strides: int,
    name: str,
    dropout: float,
    options: dict[str, Any],
) -> Any:
    kept = x
    if strides > 1 or x.shape[-1] != channels:
        kept = parts.conv(x, channels, 1, f"{name}_shortcut_conv", strides, **options)
    x = parts.norm_relu(x, name, 1)
    x = parts.conv(x, middle, 3, f"{name}_conv1", **options)
    if dropout:
        x = keras.layers.Dropout(dropout, name=f"{name}_dropout")(x)
    x = parts.norm_relu(x, name, 2)
    x = parts.conv(x, channels, 3, f"{name}_conv2", strides, **options)
    return keras.layers.Add(name=f"{name}_add")([kept, x])
