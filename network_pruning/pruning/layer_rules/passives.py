"""Layers without weights that pass channels on, each alone or rearranged."""

from __future__ import annotations

from typing import Any

import numpy as np
import tf_keras as keras

from network_pruning.pruning.channel_ids import IntArray
from network_pruning.pruning.layer_rules.activations import activation
from network_pruning.pruning.layer_rules.rule import (
    LayerRule,
    NotUnderstood,
    Site,
    always,
    channels_last,
    narrowed_padding,
    padded,
)
from network_pruning.types import BoolArray

_LAYERS = keras.layers


def _noise_shape(layer: keras.layers.Layer) -> str | None:
    shape = getattr(layer, "noise_shape", None)
    if shape is None or shape[-1] in {None, 1}:
        return None
    return f"its noise_shape {tuple(shape)} fixes the number of channels"


def _scale(layer: keras.layers.Layer) -> str | None:
    if np.ndim(layer.scale) == 0 and np.ndim(layer.offset) == 0:
        return None
    return "its scale or offset is a list by channel"


def rearranged(ids: IntArray, width: int | None) -> IntArray:
    """Follows channels through a row-major reshape.

    Args:
        ids: Along the last axis before [old width].
        width: Of the last axis after.

    Returns:
        Ids along the last axis after [width]: the same, or once per position where
        positions are laid behind each other, or as they were before that.

    Raises:
        NotUnderstood: If a channel would be split or mixed with others.
    """
    if not width:
        raise NotUnderstood("the width of its output is not known")
    if width % ids.size == 0:
        return np.tile(ids, width // ids.size)
    if ids.size % width == 0:
        rows = ids.reshape(-1, width)
        if (rows == rows[0]).all():
            return rows[0]
    raise NotUnderstood(f"it lays {ids.size} channels out as {width}")


def _reshaped(site: Site) -> IntArray:
    return rearranged(site.inputs[0].ids, site.call.node.outputs.shape[-1])


def _narrow_target(config: dict[str, Any], _: BoolArray, kept: BoolArray) -> None:
    *before, last = config["target_shape"]
    if last != -1:
        config["target_shape"] = (*before, int(np.count_nonzero(kept)))


def _permuted(site: Site) -> IntArray:
    dims = tuple(site.call.layer.dims)
    if dims[-1] != len(dims):
        raise NotUnderstood(f"its dims {dims} move the channel axis")
    return site.inputs[0].ids


def _zero_padded(site: Site) -> IntArray:
    layer = site.call.layer
    if layer.data_format == "channels_last":
        return site.inputs[0].ids
    # Its last "spatial" axis is the channel axis of the network around it.
    return padded(site, *layer.padding[1])


def _narrow_zeros(config: dict[str, Any], _: BoolArray, kept: BoolArray) -> None:
    if config["data_format"] == "channels_first":
        rows, ends = config["padding"]
        config["padding"] = (rows, narrowed_padding(ends[0], ends[1], kept))


_PLAIN = LayerRule(role="passive", unread=channels_last)
_NOISE = LayerRule(role="passive", fixed=_noise_shape)
_STATISTICS = LayerRule(
    role="passive",
    fixed=always("its statistics run over the channels: without one the rest change"),
    quiet=False,
)


def _named(*names: str) -> list[type[Any]]:
    return [getattr(_LAYERS, name) for name in names if hasattr(_LAYERS, name)]


def _by_rank(*names: str) -> list[type[Any]]:
    return _named(*(f"{name}{rank}D" for name in names for rank in (1, 2, 3)))


RULES: dict[type[Any], LayerRule] = {
    _LAYERS.Activation: LayerRule(role="passive", fixed=activation),
    _LAYERS.Softmax: LayerRule(role="passive", fixed=always("softmax mixes channels")),
    _LAYERS.Flatten: LayerRule(
        role="passive", channels=_reshaped, fixed=channels_last, quiet=False
    ),
    _LAYERS.Reshape: LayerRule(
        role="passive", channels=_reshaped, narrow=_narrow_target
    ),
    _LAYERS.ZeroPadding2D: LayerRule(
        role="passive", channels=_zero_padded, narrow=_narrow_zeros
    ),
    _LAYERS.Permute: LayerRule(role="passive", channels=_permuted),
    _LAYERS.Rescaling: LayerRule(role="passive", fixed=_scale),
    _LAYERS.Normalization: LayerRule(
        role="passive", fixed=always("its statistics belong to the data")
    ),
    **dict.fromkeys(
        _named("LayerNormalization", "GroupNormalization", "UnitNormalization"),
        _STATISTICS,
    ),
    **dict.fromkeys(
        _named(
            *("Dropout", "AlphaDropout", "GaussianDropout", "GaussianNoise"),
            *("SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D"),
        ),
        _NOISE,
    ),
    **dict.fromkeys(
        [
            *_named("ReLU", "LeakyReLU", "ELU", "ThresholdedReLU", "Identity"),
            *_named("ActivityRegularization", "RepeatVector", "Resizing", "CenterCrop"),
            *_named("RandomFlip", "RandomCrop", "RandomTranslation", "RandomRotation"),
            *_named("RandomZoom", "RandomHeight", "RandomWidth"),
            *_by_rank("MaxPooling", "AveragePooling"),
            *_by_rank("GlobalMaxPooling", "GlobalAveragePooling"),
            *_by_rank("Cropping", "UpSampling"),
            *_named("ZeroPadding1D", "ZeroPadding3D"),
        ],
        _PLAIN,
    ),
}
