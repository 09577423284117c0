"""Layers that read all channels and make new ones: their units can be cut."""

from __future__ import annotations

from typing import Any

import tf_keras as keras

from network_pruning.pruning.channel_ids import ChannelIds, IntArray
from network_pruning.pruning.layer_rules.activations import activation
from network_pruning.pruning.layer_rules.rule import LayerRule, channels_last

_LAYERS = keras.layers


def _grouped(layer: keras.layers.Layer) -> str | None:
    """Returns why a convolution is not understood."""
    if layer.groups > 1 and layer.kernel.shape[-2] == 1:
        return (
            "each of its groups reads one channel, so that none can be cut alone: "
            "express it as a depthwise convolution"
        )
    return channels_last(layer)


def _couple_groups(
    layer: keras.layers.Layer, ids: ChannelIds, inputs: IntArray, outputs: IntArray
) -> None:
    """Ties position k of every group together: groups must stay equally wide."""
    if layer.groups == 1:
        return
    for side in (inputs, outputs):
        first, *others = side.reshape(layer.groups, -1)
        for other in others:
            ids.unite(first, other)


def _ungrouped(layer: keras.layers.Layer) -> str | None:
    if layer.groups > 1:
        return "transposed convolutions with groups are not understood"
    return channels_last(layer)


_DENSE = LayerRule(
    role="mixer",
    weight_axes={"kernel": ("in", "out"), "bias": ("out",)},
    width_key="units",
    fixed=activation,
)
_CONVOLUTION = LayerRule(
    role="mixer",
    weight_axes={"kernel": ("in of group", "out"), "bias": ("out",)},
    width_key="filters",
    couple=_couple_groups,
    fixed=activation,
    unread=_grouped,
)
_TRANSPOSED = LayerRule(
    role="mixer",
    weight_axes={"kernel": ("out", "in"), "bias": ("out",)},
    width_key="filters",
    fixed=activation,
    unread=_ungrouped,
)
_SEPARABLE = LayerRule(
    role="mixer",
    weight_axes={
        "depthwise_kernel": ("in", None),
        "pointwise_kernel": ("in repeated", "out"),
        "bias": ("out",),
    },
    width_key="filters",
    fixed=activation,
    unread=channels_last,
)

RULES: dict[type[Any], LayerRule] = {
    _LAYERS.Dense: _DENSE,
    _LAYERS.Conv1D: _CONVOLUTION,
    _LAYERS.Conv2D: _CONVOLUTION,
    _LAYERS.Conv3D: _CONVOLUTION,
    _LAYERS.Conv1DTranspose: _TRANSPOSED,
    _LAYERS.Conv2DTranspose: _TRANSPOSED,
    _LAYERS.Conv3DTranspose: _TRANSPOSED,
    _LAYERS.SeparableConv1D: _SEPARABLE,
    _LAYERS.SeparableConv2D: _SEPARABLE,
}
