"""How many images a network takes at once, so that its activations have room."""

from __future__ import annotations

import math
from collections.abc import Sequence

import tensorflow as tf
import tf_keras as keras

from network_pruning.graph import calls_of, has_graph

MOST_BYTES = 1 << 29
"""Of float32 activations that are held at once."""
CHANNELS = 64
"""Numbers of a layer at each pixel, taken for granted where no graph tells."""


def fitting(most: int, numbers: int) -> int:
    """Returns how many images fit, if each takes so many numbers.

    Args:
        most: Images, where there is room.
        numbers: Of each image.

    Returns:
        From 1 to `most`.
    """
    return max(1, min(most, MOST_BYTES // (4 * max(numbers, 1))))


def widest(network: keras.Model, image_shape: Sequence[int]) -> int:
    """Returns the numbers of the largest activation of one image.

    Args:
        network: Any; of one without graph it is an estimate.
        image_shape: Of one image: its longest side stands for those left open.

    Returns:
        Numbers, of the image itself at least.
    """
    if not has_graph(network):
        return CHANNELS * math.prod(image_shape[:-1])
    side = max(image_shape)
    sizes = (
        math.prod(length or side for length in output.shape[1:])
        for call in calls_of(network)
        for output in tf.nest.flatten(call.node.outputs)
    )
    return max([math.prod(image_shape), *sizes])
