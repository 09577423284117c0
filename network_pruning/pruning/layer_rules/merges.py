"""Layers and operators that join tensors: what they add up must be cut together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tf_keras as keras

from network_pruning.pruning.channel_ids import IntArray
from network_pruning.pruning.layer_rules.rule import (
    Channels,
    LayerRule,
    NotUnderstood,
    Site,
)

_LAYERS = keras.layers


def elementwise(site: Site) -> IntArray:
    """Couples the channels of tensors that are combined element by element.

    A tensor of one channel, broadcast over the others, keeps it.

    Returns:
        Ids of the output.

    Raises:
        NotUnderstood: If ranks differ, so that broadcasting moves axes.
    """
    if len({tensor.rank for tensor in site.inputs}) > 1:
        ranks = [tensor.rank for tensor in site.inputs]
        raise NotUnderstood(f"it combines tensors of different ranks, {ranks}")
    return _united(site, site.inputs)


def _united(site: Site, tensors: Sequence[Channels]) -> IntArray:
    width = max(tensor.ids.size for tensor in tensors)
    whole = [tensor.ids for tensor in tensors if tensor.ids.size == width]
    for tensor in tensors:
        if tensor.ids.size != width:
            site.freeze("it is broadcast over the channels of others", tensor.ids)
    for ids in whole[1:]:
        site.ids.unite(whole[0], ids)
    return whole[0]


def joined(site: Site, tensors: Sequence[Channels], axis: int) -> IntArray:
    """Lays the channels of tensors side by side, or couples them along another axis.

    Returns:
        Ids of the output.
    """
    if axis % tensors[0].rank == tensors[0].rank - 1:
        return np.concatenate([tensor.ids for tensor in tensors])
    return _united(site, tensors)


def _concatenated(site: Site) -> IntArray:
    return joined(site, site.inputs, site.call.layer.axis)


_ELEMENTWISE = LayerRule(role="passive", channels=elementwise, several=True)

RULES: dict[type[Any], LayerRule] = {
    _LAYERS.Add: _ELEMENTWISE,
    _LAYERS.Subtract: _ELEMENTWISE,
    _LAYERS.Multiply: _ELEMENTWISE,
    _LAYERS.Average: _ELEMENTWISE,
    _LAYERS.Maximum: _ELEMENTWISE,
    _LAYERS.Minimum: _ELEMENTWISE,
    _LAYERS.Concatenate: LayerRule(
        role="passive", channels=_concatenated, several=True
    ),
}
