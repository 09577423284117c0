"""What is looked at of a network's activations: tensors [n, d], one row an image.

Activations are those that `taps.call_tapped` shows, before the activation function; a
scale, the RMS of a layer's rectified activations, puts all layers on one footing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from network_pruning.inversion import spectral

if TYPE_CHECKING:
    from tensorflow import Tensor

Taps = Mapping[str, "Tensor"]
"""Activations [n, ..., channels] by layer."""


def exact(taps: Taps) -> Taps:
    """Returns activations as float32, whatever the network computes in."""
    return {name: tf.cast(tap, tf.float32) for name, tap in taps.items()}


def flat(activation: Tensor) -> Tensor:
    """Returns [n, ...] as [n, d]."""
    return tf.reshape(
        activation, [tf.shape(activation)[0], np.prod(activation.shape[1:])]
    )


def joined(taps: Taps, scales: Mapping[str, float]) -> Tensor:
    """Lays the scaled activations of layers side by side.

    Args:
        taps: Of these layers and maybe others.
        scales: By layer, in the order wanted.

    Returns:
        [n, sum of the layers' sizes].
    """
    return tf.concat([flat(taps[name]) / scale for name, scale in scales.items()], 1)


def signal(
    taps: Taps, scales: Mapping[str, float], grids: Sequence[spectral.Grid]
) -> Tensor:
    """Returns the signal on the nodes of a graph: rectified, pooled, scaled, joined.

    Args:
        taps: Of these layers and maybe others.
        scales: By layer, in the order of the graph.
        grids: Cells of each layer's feature maps.

    Returns:
        [n, nodes].
    """
    parts = [
        flat(pooled(tf.nn.relu(taps[name]), grid)) / scale
        for (name, scale), grid in zip(scales.items(), grids, strict=True)
    ]
    return tf.concat(parts, axis=1)


def pooled(maps: Tensor, grid: spectral.Grid) -> Tensor:
    """Averages feature maps over the cells of a grid.

    Args:
        maps: [n, *places, channels].
        grid: Cells along each axis of places.

    Returns:
        [n, *grid, channels].
    """
    places = maps.shape[1:-1]
    if tuple(places) == tuple(grid):
        return maps
    for axis, (fine, coarse) in enumerate(zip(places, grid, strict=True), start=1):
        shares = tf.constant(spectral.overlap(fine, coarse), maps.dtype)
        # tensordot puts the new axis last: back to where the old one was.
        last = tf.tensordot(maps, shares, [[axis], [0]])
        order = list(range(len(maps.shape)))
        order.insert(axis, order.pop())
        maps = tf.transpose(last, order)
    return maps
