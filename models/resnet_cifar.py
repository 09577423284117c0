"""The residual networks of He et al. for CIFAR: 6n + 2 layers in three stages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import tf_keras as keras

from models import parts

WIDTHS = (16, 32, 64)


def build(
    input_shape: tuple[int, ...],
    num_classes: int,
    *,
    depth: int,
    widths: Sequence[int] = WIDTHS,
    width: float = 1.0,
    inner: Sequence[int] | None = None,
    shortcut: Literal["A", "B"] = "A",
    normalise: parts.Moments | Literal["auto"] | None = "auto",
    l1: float = 0.0,
    l2: float = 0.0,
) -> keras.Model:
    """Builds the network.

    Args:
        input_shape: Of one image.
        num_classes: Number of logits.
        depth: 6n + 2 for n blocks in a stage.
        widths: Channels of each stage; the stem has those of the first.
        width: Factor on all of them.
        inner: Channels of the first convolution of the blocks, one number to a stage or
            one to a block, `width` left out; None: those of the stage.
        shortcut: How a block that changes the shape carries its input on. "A":
            every other pixel, zeros in the new channels; "B": a 1x1 convolution.
        normalise: (mean, sd) by channel; None: pixels as they are; "auto": of CIFAR-10,
            if there are three channels.
        l1: Penalty l1 * sum |w| on each kernel but the last.
        l2: Penalty l2 * sum w^2 on each kernel but the last.

    Returns:
        The model, images -> logits [n, num_classes]; kernels initialised He-normal.
    """
    parts.check_widths("widths", widths, (len(WIDTHS),))
    parts.check_choice("shortcut", shortcut, ("A", "B"))
    widths = parts.scaled(widths, width)
    options: dict[str, Any] = {
        "use_bias": False,
        "kernel_initializer": "he_normal",
        "kernel_regularizer": parts.penalty(l1, l2),
    }
    inputs = parts.images(input_shape)
    x = parts.normalised(inputs, normalise, parts.CIFAR)
    x = parts.conv(x, widths[0], 3, "stem_conv", **options)
    x = parts.norm_relu(x, "stem")
    inside = parts.by_block(inner, widths, [(depth - 2) // 6] * len(widths))
    for i, (channels, middles) in enumerate(zip(widths, inside, strict=True), start=1):
        for j, middle in enumerate(middles, start=1):
            strides = 2 if i > 1 and j == 1 else 1
            name = f"stage{i}_block{j}"
            x = _block(x, channels, middle, strides, name, shortcut, options)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    logits = keras.layers.Dense(
        num_classes, kernel_initializer="he_normal", name="logits"
    )(x)
    return keras.Model(inputs, logits, name=f"resnet{depth}")


def _block(
    x: Any,
    channels: int,
    middle: int,
    strides: int,
    name: str,
    shortcut: str,
    options: dict[str, Any],
) -> Any:
    kept = x
    if strides > 1 or x.shape[-1] != channels:
        carry = _padded if shortcut == "A" else _projected
        kept = carry(x, channels, strides, f"{name}_shortcut", options)
    x = parts.conv(x, middle, 3, f"{name}_conv1", strides, **options)
    x = parts.norm_relu(x, name, 1)
    x = parts.conv(x, channels, 3, f"{name}_conv2", **options)
    x = parts.batch_norm(f"{name}_norm2")(x)
    x = keras.layers.Add(name=f"{name}_add")([kept, x])
    return keras.layers.ReLU(name=f"{name}_relu2")(x)


def _padded(x: Any, channels: int, strides: int, name: str, _: dict[str, Any]) -> Any:
    missing = channels - x.shape[-1]
    if missing < 0:
        raise ValueError(
            f"widths: {name} goes from {x.shape[-1]} to {channels} channels, expected "
            'no fewer, since shortcut="A" only adds zeros: take shortcut="B"'
        )
    if strides > 1:
        x = keras.layers.MaxPooling2D(1, strides=strides, name=f"{name}_pick")(x)
    if not missing:
        return x
    # Read as [n, channels, rows, columns], the columns are our channels: an ordinary
    # layer pads the last axis, and the file loads anywhere, without custom code.
    before = missing // 2
    return keras.layers.ZeroPadding2D(
        ((0, 0), (before, missing - before)),
        data_format="channels_first",
        name=f"{name}_zeros",
    )(x)


def _projected(
    x: Any, channels: int, strides: int, name: str, options: dict[str, Any]
) -> Any:
    x = parts.conv(x, channels, 1, f"{name}_conv", strides, **options)
    return parts.batch_norm(f"{name}_norm")(x)
