"""Layers with weights per channel: they are cut along with what they follow."""

from __future__ import annotations

from typing import Any

import numpy as np
import tf_keras as keras

from network_pruning.pruning.channel_ids import IntArray
from network_pruning.pruning.layer_rules.activations import activation
from network_pruning.pruning.layer_rules.rule import (
    Axes,
    LayerRule,
    Site,
    channels_last,
)

_LAYERS = keras.layers
_PER_CHANNEL: Axes = ("in",)


def _norm_axis(layer: keras.layers.Layer) -> str | None:
    last = layer.input_spec.ndim - 1
    if list(layer.axis) == [last]:
        return None
    return f"it normalises axis {list(layer.axis)}, not the last one, {last}"


def _shared_alpha(layer: keras.layers.Layer) -> str | None:
    rank = len(layer.alpha.shape)
    if rank in set(layer.shared_axes or ()):
        return "its alpha is shared over the channels"
    return None


def _multiplied(site: Site) -> IntArray:
    """Returns each channel depth_multiplier times, side by side."""
    return np.repeat(site.inputs[0].ids, site.call.layer.depth_multiplier)


_NORMALISATION = LayerRule(
    role="follower",
    weight_axes=dict.fromkeys(
        (
            *("gamma", "beta", "moving_mean", "moving_variance"),
            *("moving_stddev", "renorm_mean", "renorm_stddev"),  # with renorm=True
        ),
        _PER_CHANNEL,
    ),
    fixed=_norm_axis,
    quiet=False,
)
_DEPTHWISE = LayerRule(
    role="follower",
    weight_axes={"depthwise_kernel": ("in", None), "bias": ("out",)},
    channels=_multiplied,
    fixed=activation,
    unread=channels_last,
)

RULES: dict[type[Any], LayerRule] = {
    _LAYERS.BatchNormalization: _NORMALISATION,
    _LAYERS.experimental.SyncBatchNormalization: _NORMALISATION,
    _LAYERS.DepthwiseConv1D: _DEPTHWISE,
    _LAYERS.DepthwiseConv2D: _DEPTHWISE,
    _LAYERS.PReLU: LayerRule(
        role="follower", weight_axes={"alpha": _PER_CHANNEL}, fixed=_shared_alpha
    ),
}
