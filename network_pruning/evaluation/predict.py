"""Logits of a whole split."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import tf_keras as keras

from network_pruning.chunks import fitting, widest
from network_pruning.classifiers import ends_in_softmax
from network_pruning.losses import as_logits
from network_pruning.types import Dataset

CHUNK = 2000
"""Images at once: large enough that calling the layers one by one costs nothing."""
STREAMED = 256
"""The same of a set that does not fit in memory."""


def predict_logits(
    network: keras.Model, images: npt.NDArray[np.float32], chunk: int = CHUNK
) -> npt.NDArray[np.float32]:
    """Runs a network over images without tracing it.

    A sweep meets each network once, so a trace would cost more than it saves.

    Args:
        network: Images -> logits [n, classes], or their softmax.
        images: [n, h, w, c].
        chunk: Images in one call, at most: fewer where activations are large.

    Returns:
        Logits [n, classes].
    """
    softmax = ends_in_softmax(network)
    chunk = fitting(chunk, widest(network, images.shape[1:]))
    parts = [
        _logits(network, images[start : start + chunk], softmax)
        for start in range(0, len(images), chunk)
    ]
    return np.concatenate(parts)


def _logits(
    network: keras.Model, images: Any, softmax: bool
) -> npt.NDArray[np.float32]:
    return np.asarray(as_logits(network(images, training=False), softmax))


def predict_split(
    network: keras.Model, data: Dataset, split: str
) -> tuple[npt.NDArray[np.float32], npt.NDArray[Any]]:
    """Runs a network over a split.

    Args:
        network: Images -> logits [n, classes], or their softmax.
        data: In memory or streamed.
        split: train, valid or test.

    Returns:
        Logits [n, classes] and labels [n].
    """
    if data.in_memory:
        images, labels = getattr(data, f"x_{split}"), getattr(data, f"y_{split}")
        return predict_logits(network, images), labels
    softmax = ends_in_softmax(network)
    size = fitting(STREAMED, widest(network, data.input_shape))
    pairs = [
        (_logits(network, images, softmax), labels.numpy())
        for images, labels in data.batches(split, size)
    ]
    logits, labels = zip(*pairs, strict=True)
    return np.concatenate(logits), np.concatenate(labels)
