"""Contestants of the suite datafree in TensorFlow and NumPy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf
import tf_keras as keras

import models
from data.arrays import ArrayDataset
from experiments.benchmarks.config import CLASSES, BenchmarkConfig
from experiments.benchmarks.datafree import (
    IMAGES,
    LEARNING_RATE,
    NETWORKS,
    UNITS,
    VECTORS,
)
from experiments.benchmarks.keras_jobs import threads
from experiments.benchmarks.worker import Ready
from network_pruning.graph import leaf_layers
from network_pruning.inversion import moments
from network_pruning.inversion.aims import make_aim
from network_pruning.inversion.recipe import Recipe
from network_pruning.inversion.reconstructor import Reconstructor
from network_pruning.inversion.records import ActivationRecords
from network_pruning.taps import weighted_layers

Array = npt.NDArray[Any]
SEED = 0
BATCH = 200
"""Activations that we take in at once."""


def images(config: BenchmarkConfig, name: str) -> Ready:
    """Makes the contestant that makes images as `reconstruct` does.

    Args:
        config: Of the benchmark.
        name: Of the network.

    Returns:
        The contestant, warm.
    """
    reconstructor, targets = prepared(name)

    def run(steps: int = config.steps) -> dict[str, float]:
        return {"loss": float(reconstructor.run(targets, steps)[-1])}

    run(2)
    return Ready(run, threads())


def prepared(name: str, n: int = IMAGES) -> tuple[Reconstructor, dict[str, tf.Tensor]]:
    """Returns what moves images of a fresh network, and where to.

    Args:
        name: Of the network.
        n: Images.
    """
    network = make_network(name)
    records = make_records(network)
    recipe = Recipe(learning_rate=LEARNING_RATE)
    aim = make_aim(network, records, recipe)
    generator = np.random.default_rng(SEED)
    drawn = aim.draw(np.arange(n) % CLASSES, generator)
    reconstructor = Reconstructor(network, aim, n, recipe)
    reconstructor.start(generator.random((n, *NETWORKS[name]), np.float32))
    return reconstructor, {key: tf.constant(value) for key, value in drawn.items()}


def make_network(name: str) -> keras.Model:
    """Returns a network as it starts: speed does not depend on its weights."""
    keras.utils.set_random_seed(SEED)
    return models.build(name, NETWORKS[name], CLASSES)


def make_records(network: keras.Model) -> ActivationRecords:
    """Returns records of a network on random images."""
    generator = np.random.default_rng(SEED)
    shape = (2 * CLASSES, *network.inputs[0].shape[1:])
    part = generator.random(shape, np.float32), np.arange(shape[0]) % CLASSES
    parts = dict.fromkeys(("train", "valid", "test"), part)
    data = ArrayDataset("random", parts, num_classes=CLASSES)
    return ActivationRecords.from_data(network, data, form="diag")


def floor(config: BenchmarkConfig, name: str) -> Ready:
    """Makes the contestant that only multiplies, with NumPy.

    Args:
        config: Of the benchmark.
        name: Of the network.

    Returns:
        The contestant, warm.
    """
    factors = [_factors(*shape) for shape in products(make_network(name))]

    def run(steps: int = config.steps) -> dict[str, float]:
        for _ in range(steps):
            for left, kernel, right, forward, backward in factors:
                np.matmul(left, kernel, out=forward)
                np.matmul(right, kernel.T, out=backward)
        return {"products": float(2 * steps * len(factors))}

    run(1)
    return Ready(run, {"flops": config.steps * flops(make_network(name))})


def _factors(rows: int, inputs: int, outputs: int) -> tuple[Array, ...]:
    generator = np.random.default_rng(SEED)
    shapes = (rows, inputs), (inputs, outputs), (rows, outputs)
    drawn = [generator.random(shape, np.float32) for shape in shapes]
    return *drawn, np.empty(shapes[2], np.float32), np.empty(shapes[0], np.float32)


def products(network: keras.Model, n: int = IMAGES) -> list[tuple[int, int, int]]:
    """Lists the matrix products of a step: of each layer one forward, one backward.

    A convolution is the product of its kernel with all pieces of the images it reads.

    Args:
        network: Sequential in its layers.
        n: Images.

    Returns:
        Rows, inputs and outputs of each layer.
    """
    found = []
    layers = dict(leaf_layers(network))
    for path in weighted_layers(network):
        *inputs, outputs = layers[path].kernel.shape
        places = math.prod(layers[path].output_shape[1:-1])
        found.append((n * places, math.prod(inputs), outputs))
    return found


def flops(network: keras.Model) -> int:
    """Returns the floating point operations of a step's products."""
    return sum(2 * 2 * math.prod(shape) for shape in products(network))


def activations() -> npt.NDArray[np.float32]:
    """Returns the vectors whose moments are taken [VECTORS, UNITS]."""
    return np.random.default_rng(SEED).random((VECTORS, UNITS), np.float32)


def moments_by_batch(config: BenchmarkConfig) -> Ready:
    """Makes the contestant that takes moments as records do.

    Args:
        config: Of the benchmark.

    Returns:
        The contestant, warm.
    """
    del config
    vectors = activations()

    def run() -> dict[str, float]:
        first, *rest = (
            moments.of_batch(vectors[start : start + BATCH])
            for start in range(0, VECTORS, BATCH)
        )
        for batch in rest:
            first = moments.merge(first, batch)
        return _told(np.asarray(first.scatter) / first.count)

    run()
    return Ready(run, threads())


def moments_by_image(config: BenchmarkConfig) -> Ready:
    """Makes the contestant that takes them as the published code does: one by one.

    Args:
        config: Of the benchmark.

    Returns:
        The contestant, warm.
    """
    del config
    vectors = activations().astype(np.float64)

    def run() -> dict[str, float]:
        mean = np.zeros(UNITS)
        scatter = np.zeros((UNITS, UNITS))
        for count, vector in enumerate(vectors, start=1):
            apart = vector - mean
            mean += apart / count
            scatter += np.outer(apart, vector - mean)
        return _told(scatter / VECTORS)

    run()
    return Ready(run, threads())


def _told(covariance: Array) -> dict[str, float]:
    return {"trace": float(np.trace(covariance)), "corner": float(covariance[0, -1])}
