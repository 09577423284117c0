"""Reads units where their consumers read them: behind normaliser and activation."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras

from network_pruning.classifiers import check_one_input
from network_pruning.graph import Apply, Call, at_rest, replay
from network_pruning.pruning.channel_ids import IntArray
from network_pruning.pruning.criteria._examples import Each
from network_pruning.pruning.units import UnitGroup

Listen = Callable[[int, tf.Tensor], None]
"""(id of a layer, its input) -> nothing."""


def listening_interpreter(listen: Listen) -> Apply:
    """Makes an interpreter that calls every layer, at rest, and shows what it reads.

    Args:
        listen: Told of every call of a layer; a shared layer calls more than once.

    Returns:
        For `graph.replay`.
    """

    def apply(call: Call, args: Any, kwargs: Any) -> Any:
        listen(id(call.layer), args[0])
        return call.layer(*args, **at_rest(call, kwargs))

    return apply


def reading_means(
    model: keras.Model,
    groups: Sequence[UnitGroup],
    measure: Callable[[tf.Tensor], tf.Tensor],
) -> Each:
    """Measures every unit as its consumers read it, all groups in one pass.

    Args:
        model: The network of the groups.
        groups: The units.
        measure: Elementwise: activations -> float, |a| for instance.

    Returns:
        (images, labels) -> by group name [n, n_units]: for each example, the mean of
        the measure over the unit's positions, at all its consumers.

    Raises:
        ValueError: If the network has several inputs.
    """
    check_one_input(model)
    readers: dict[int, list[tuple[str, IntArray, int]]] = defaultdict(list)
    for group in groups:
        for member in group.consumers:
            found = group.name, member.units, group.n_units
            readers[id(member.layer)].append(found)

    def each(images: tf.Tensor, labels: tf.Tensor) -> dict[str, tf.Tensor]:
        del labels
        sums: dict[str, list[tf.Tensor]] = defaultdict(list)
        counts: dict[str, list[tf.Tensor]] = defaultdict(list)

        def listen(layer: int, x: tf.Tensor) -> None:
            for name, units, n_units in readers.get(layer, ()):
                # Half precision could not hold the sums over an image's places.
                seen = tf.cast(measure(x), tf.float32)
                total, entries = _fold(seen, units, n_units)
                sums[name].append(total)
                counts[name].append(entries)

        replay(model, images, listening_interpreter(listen))
        return {name: tf.add_n(sums[name]) / tf.add_n(counts[name]) for name in sums}

    return each


def _fold(x: tf.Tensor, units: IntArray, n_units: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Sums channels by unit, and positions.

    Args:
        x: [n, ..., width].
        units: Unit of each channel [width], -1 for none.
        n_units: Number of units.

    Returns:
        Sums [n, n_units], and how many entries each has [n_units].
    """
    positions = tf.reduce_prod(tf.shape(x)[1:-1])
    by_channel = tf.reduce_sum(x, axis=list(range(1, x.shape.rank - 1)))
    by_unit = tf.math.unsorted_segment_sum(tf.transpose(by_channel), units, n_units)
    channels = np.bincount(units[units >= 0], minlength=n_units)
    entries = tf.cast(positions, x.dtype) * tf.constant(channels, x.dtype)
    return tf.transpose(by_unit), entries
