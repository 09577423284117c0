"""Latency: LiteRT at batch 1, TensorFlow at batch 256."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tensorflow as tf
import tf_keras as keras

from network_pruning.evaluation.tflite import LiteModel, to_tflite
from network_pruning.evaluation.timing import repeat
from network_pruning.types import FloatArray

BATCH = 256


@dataclass(frozen=True)
class Latency:
    """Timed values of one network on this machine; never equal in two runs.

    Attributes:
        litert_median_us: One example through LiteRT float32, microseconds.
        litert_p90_us: Its 90th percentile.
        tf256_median_ms: 256 examples through a tf.function, milliseconds.
        tf256_p90_ms: Its 90th percentile.
        threads: Of LiteRT; TensorFlow keeps its own setting.
    """

    litert_median_us: float
    litert_p90_us: float
    tf256_median_ms: float
    tf256_p90_ms: float
    threads: int = 1


def measure(
    model: keras.Model, tflite: bytes | None = None, threads: int = 1, seed: int = 0
) -> Latency:
    """Times a network's forward pass on seeded uniform inputs.

    Args:
        model: One input, one output.
        tflite: Its float32 LiteRT file, converted here when not given.
        threads: Of LiteRT.
        seed: Of the inputs.

    Returns:
        Medians and 90th percentiles, after a warm-up.

    Raises:
        ValueError: If the model takes inputs of any size.
    """
    if None in model.inputs[0].shape[1:]:
        raise ValueError(
            f"model {model.name!r} takes inputs {model.inputs[0].shape[1:]}: a time is "
            "that of a size, expected keras.Input with one"
        )
    shape = (BATCH, *model.inputs[0].shape[1:])
    x = np.random.default_rng(seed).random(shape, np.float32)
    lite = time_litert(to_tflite(model) if tflite is None else tflite, x, threads)
    full = time_tensorflow(model, x)
    return Latency(
        litert_median_us=float(np.median(lite) * 1e6),
        litert_p90_us=float(np.percentile(lite, 90) * 1e6),
        tf256_median_ms=float(np.median(full) * 1e3),
        tf256_p90_ms=float(np.percentile(full, 90) * 1e3),
        threads=threads,
    )


def time_litert(content: bytes, x: FloatArray, threads: int = 1) -> FloatArray:
    """Times a .tflite file at batch 1.

    Args:
        content: Of the file.
        x: Inputs [n, *input_shape]; the first is used.
        threads: Of LiteRT.

    Returns:
        Seconds of each of at least 200 runs that last at least 0.2 s.
    """
    lite = LiteModel(content, threads)
    lite.set(np.asarray(x[:1], np.float32))
    return repeat(lite.invoke, runs=200, seconds=0.2)


def time_tensorflow(model: keras.Model, x: FloatArray) -> FloatArray:
    """Times a model as one tf.function.

    Args:
        model: One input, one output.
        x: The batch [n, *input_shape].

    Returns:
        Seconds of each of at least 20 runs that last at least 0.2 s.
    """
    forward = tf.function(lambda batch: model(batch, training=False))
    batch = tf.constant(x)
    return repeat(lambda: forward(batch).numpy(), runs=20, seconds=0.2)
