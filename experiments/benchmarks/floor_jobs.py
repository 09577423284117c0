"""Contestants that only multiply: the matrix products of training steps, nothing else.

A step of a perceptron with L kernels has 3 L - 1 products: forward, the gradient of
every kernel, and of every layer's input but the images. They are chained as in the
network, without activations, so that none can be left out or taken out of the loop.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from experiments.benchmarks.config import BATCH_SIZE, CLASSES, IMAGE, BenchmarkConfig
from experiments.benchmarks.worker import Ready

STEPS = 50
Arrays = list[Any]


def step_flops(sizes: Sequence[int], batch: int) -> int:
    """Counts the floating point operations of a step's products.

    Args:
        sizes: Inputs, widths and outputs of the network [L + 1].
        batch: Examples in a step.

    Returns:
        2 for each multiply-accumulate.
    """
    kernels = [a * b for a, b in pairwise(sizes)]
    return 2 * batch * (3 * sum(kernels) - kernels[0])


def sizes(config: BenchmarkConfig) -> list[int]:
    """Returns inputs, widths and outputs of the network."""
    return [int(np.prod(IMAGE)), *config.widths, CLASSES]


def step_sum(x: Any, kernels: Arrays) -> Any:
    """Does the products of one step; for arrays of any library that knows @ and .T.

    Args:
        x: Images [batch, inputs].
        kernels: [in, out] each.

    Returns:
        An entry of each kernel's gradient, summed: so each must be computed.
    """
    layers = [x]
    for kernel in kernels:
        layers.append(layers[-1] @ kernel)
    gradient = layers.pop()
    total = 0.0
    for i in reversed(range(len(kernels))):
        total += (layers[i].T @ gradient)[0, 0]
        if i:
            gradient = gradient @ kernels[i].T
    return total


def with_numpy(config: BenchmarkConfig) -> Ready:
    """Returns the contestant that multiplies with NumPy."""
    batches, kernels = _arrays(config)

    def run(steps: int = STEPS) -> Mapping[str, float]:
        return {
            "sum": float(sum(step_sum(batches[i % 2], kernels) for i in range(steps)))
        }

    return _ready(run, config)


def with_tensorflow(
    config: BenchmarkConfig, steps: int = STEPS, batch: int = BATCH_SIZE
) -> Ready:
    """Makes the one with TensorFlow: a traced loop, no Python between products.

    Args:
        config: Of the benchmark.
        steps: Of a turn.
        batch: Examples in a step.

    Returns:
        The contestant, warm.
    """
    import tensorflow as tf

    arrays, kernels = _arrays(config, batch)
    batches = tf.constant(arrays)
    variables = [tf.Variable(kernel) for kernel in kernels]

    @tf.function(autograph=False)
    def loop(steps: tf.Tensor) -> tf.Tensor:
        def body(i: tf.Tensor, total: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            return i + 1, total + _tensor_step(batches[i % 2], variables)

        start = tf.constant(0), tf.constant(0.0)
        # One step at a time: several at once would share the cores differently.
        return tf.while_loop(
            lambda i, _: i < steps, body, start, parallel_iterations=1
        )[1]

    def run(steps: int = steps) -> Mapping[str, float]:
        return {"sum": float(loop(tf.constant(steps)))}

    return _ready(run, config, steps, batch)


def _tensor_step(x: Any, kernels: Arrays) -> Any:
    """Returns `step_sum`, the transposition inside the product as TensorFlow has it."""
    import tensorflow as tf

    layers = [x]
    for kernel in kernels:
        layers.append(tf.matmul(layers[-1], kernel))
    gradient = layers.pop()
    total = tf.constant(0.0)
    for i in reversed(range(len(kernels))):
        total += tf.matmul(layers[i], gradient, transpose_a=True)[0, 0]
        if i:
            gradient = tf.matmul(gradient, kernels[i], transpose_b=True)
    return total


def with_torch(config: BenchmarkConfig, threads: int) -> Ready:
    """Returns the contestant that multiplies with PyTorch."""
    import torch

    torch.set_num_threads(threads)
    arrays, kernels = _arrays(config)
    batches, tensors = torch.from_numpy(arrays), [torch.from_numpy(k) for k in kernels]

    def run(steps: int = STEPS) -> Mapping[str, float]:
        with torch.no_grad():
            total = sum(step_sum(batches[i % 2], tensors) for i in range(steps))
        return {"sum": float(total)}

    return _ready(run, config)


def _arrays(config: BenchmarkConfig, batch: int = BATCH_SIZE) -> tuple[Any, Arrays]:
    """Returns two batches [2, batch, inputs] and the kernels, Glorot-uniform."""
    rng = np.random.default_rng(0)
    shapes = list(pairwise(sizes(config)))
    limits = [np.sqrt(6 / (a + b)) for a, b in shapes]
    kernels = [
        rng.uniform(-limit, limit, shape).astype(np.float32)
        for limit, shape in zip(limits, shapes, strict=True)
    ]
    return rng.random((2, batch, shapes[0][0]), np.float32), kernels


def _ready(
    run: Callable[..., Mapping[str, float]],
    config: BenchmarkConfig,
    steps: int = STEPS,
    batch: int = BATCH_SIZE,
) -> Ready:
    run(4)
    flops = steps * step_flops(sizes(config), batch)
    return Ready(run, {"flops": flops})
