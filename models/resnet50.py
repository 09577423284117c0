"""The ResNet-50 in torchvision's layout: bottlenecks with the stride in the 3x3."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import tf_keras as keras

from models import parts

BLOCKS = (3, 4, 6, 3)
WIDTHS = (64, 128, 256, 512)
EXPANSION = 4
"""Channels a block hands on, for each channel of its stage's width."""


def build(
    input_shape: tuple[int, ...],
    num_classes: int,
    *,
    widths: Sequence[int] = WIDTHS,
    width: float = 1.0,
    inner: Sequence[int] | None = None,
    normalise: parts.Moments | Literal["auto"] | None = "auto",
    l1: float = 0.0,
    l2: float = 0.0,
) -> keras.Model:
    """Builds the network.

    Args:
        input_shape: Of one image; (224, 224, 3) for ImageNet, None for an open side.
        num_classes: Number of logits.
        widths: Of each stage, whose blocks hand on 4 times as many channels; the stem
            has those of the first.
        width: Factor on all of them.
        inner: Channels of the first two convolutions of the blocks, one number to a
            stage or one to a block, `width` left out; None: the widths.
        normalise: (mean, sd) by channel; None: pixels as they are; "auto": of ImageNet,
            if there are three channels.
        l1: Penalty l1 * sum |w| on each kernel but the last.
        l2: Penalty l2 * sum w^2 on each kernel but the last.

    Returns:
        The model, images -> logits [n, num_classes]; convolutions initialised
        He-normal by the outputs, as torchvision does.
    """
    parts.check_widths("widths", widths, (len(WIDTHS),))
    widths = parts.scaled(widths, width)
    options: dict[str, Any] = {
        "use_bias": False,
        "kernel_initializer": parts.variance_scaling("fan_out", "untruncated_normal"),
        "kernel_regularizer": parts.penalty(l1, l2),
    }
    inputs = parts.images(input_shape)
    x = parts.normalised(inputs, normalise, parts.IMAGENET)
    x = parts.conv(x, widths[0], 7, "stem_conv", strides=2, **options)
    x = parts.norm_relu(x, "stem")
    # Zeros around, as good as minus infinity: after a ReLU nothing is smaller.
    x = keras.layers.ZeroPadding2D(1, name="stem_pool_pad")(x)
    x = keras.layers.MaxPooling2D(3, strides=2, name="stem_pool")(x)
    inside = parts.by_block(inner, widths, BLOCKS)
    for i, (base, middles) in enumerate(zip(widths, inside, strict=True), start=1):
        for j, middle in enumerate(middles, start=1):
            strides = 2 if i > 1 and j == 1 else 1
            name = f"stage{i}_block{j}"
            x = _block(x, EXPANSION * base, middle, strides, name, options)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    logits = keras.layers.Dense(num_classes, name="logits")(x)
    return keras.Model(inputs, logits, name="resnet50")


def _block(
    x: Any,
    channels: int,
    middle: int,
    strides: int,
    name: str,
    options: dict[str, Any],
) -> Any:
    kept = x
    if strides > 1 or x.shape[-1] != channels:
        shortcut = f"{name}_shortcut"
        kept = parts.conv(x, channels, 1, f"{shortcut}_conv", strides, **options)
        kept = parts.batch_norm(f"{shortcut}_norm")(kept)
    x = parts.conv(x, middle, 1, f"{name}_conv1", **options)
    x = parts.norm_relu(x, name, 1)
    x = parts.conv(x, middle, 3, f"{name}_conv2", strides, **options)
    x = parts.norm_relu(x, name, 2)
    x = parts.conv(x, channels, 1, f"{name}_conv3", **options)
    x = parts.batch_norm(f"{name}_norm3")(x)
    x = keras.layers.Add(name=f"{name}_add")([kept, x])
    return keras.layers.ReLU(name=f"{name}_relu3")(x)
