"""What stays of a layer's weights when channels are cut."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import tf_keras as keras

from network_pruning.pruning.layer_rules import Axes, Side
from network_pruning.pruning.units import LayerChannels
from network_pruning.types import BoolArray

Kept = tuple[BoolArray | None, ...]
"""Which entries of each axis stay; None stands for all."""


def sliced_weights(
    layer: keras.layers.Layer, channels: LayerChannels | None, vector: BoolArray
) -> list[npt.NDArray[Any]]:
    """Cuts the weights of one layer.

    Args:
        layer: The original.
        channels: Its channels; None leaves the weights whole.
        vector: Mask by slot.

    Returns:
        What stays of each weight, in the order of `layer.weights`.
    """
    slices = kept_entries(layer, channels, vector)
    return [
        _compressed(weight.numpy(), kept)
        for weight, kept in zip(layer.weights, slices, strict=True)
    ]


def sliced_shapes(
    layer: keras.layers.Layer, channels: LayerChannels | None, vector: BoolArray
) -> list[tuple[int, ...]]:
    """Returns the shapes `sliced_weights` gives, without touching the weights."""
    return [
        tuple(
            length if mask is None else int(np.count_nonzero(mask))
            for length, mask in zip(weight.shape, kept, strict=True)
        )
        for weight, kept in zip(
            layer.weights, kept_entries(layer, channels, vector), strict=True
        )
    ]


def kept_entries(
    layer: keras.layers.Layer, channels: LayerChannels | None, vector: BoolArray
) -> list[Kept]:
    """Returns what stays along every axis of each weight.

    Raises:
        ValueError: If the layer holds a table of words or numbers, which is none.
    """
    if not all(hasattr(weight, "shape") for weight in layer.weights):
        raise ValueError(
            f"layer {layer.name!r} ({type(layer).__name__}) holds a table, which "
            "cannot be carried over, expected a network of arrays: cut the one behind "
            "this layer, as in keras.Model(layer.output, model.output)"
        )
    rule = None if channels is None else channels.rule
    if channels is None or rule is None:
        return [(None,) * weight.shape.rank for weight in layer.weights]
    keep = {"in": vector[channels.inputs], "out": vector[channels.outputs]}
    axes = {
        id(getattr(layer, attribute, None)): axes
        for attribute, axes in rule.weight_axes.items()
    }
    return [
        _kept(tuple(weight.shape), axes.get(id(weight), ()), keep)
        for weight in layer.weights
    ]


def _kept(shape: tuple[int, ...], axes: Axes, keep: dict[str, BoolArray]) -> Kept:
    first = len(shape) - len(axes)
    lengths = zip(axes, shape[first:], strict=True)
    return (None,) * first + tuple(
        None if side is None else _along(side, length, keep) for side, length in lengths
    )


def _along(side: Side, length: int, keep: dict[str, BoolArray]) -> BoolArray:
    """Returns what stays of an axis [length]."""
    if side == "in of group":
        return keep["in"][:length]
    if side == "in repeated":
        return np.repeat(keep["in"], length // keep["in"].size)
    return keep[side]


def _compressed(value: npt.NDArray[Any], kept: Kept) -> npt.NDArray[Any]:
    for axis, mask in enumerate(kept):
        if mask is not None:
            value = np.compress(mask, value, axis)
    return value
