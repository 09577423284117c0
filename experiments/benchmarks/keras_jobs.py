"""Contestants in TensorFlow: our training epoch and our sweep, and plain Keras."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras

import models
from experiments.benchmarks.config import (
    BATCH_SIZE,
    CLASSES,
    IMAGE,
    LEARNING_RATE,
    BenchmarkConfig,
)
from experiments.benchmarks.trained import trained_network
from experiments.benchmarks.worker import Ready, random_images
from network_pruning.evaluation import metrics
from network_pruning.evaluation.predict import predict_logits
from network_pruning.evaluation.rows import KINDS
from network_pruning.jobs import cells
from network_pruning.pruning.masks import keep_largest
from network_pruning.resident import ResidentLoop
from network_pruning.training import Trainer, is_dense, reseed

SEED = 0


def our_epoch(config: BenchmarkConfig) -> Ready:
    """Returns the contestant that trains an epoch as `jobs.fit` does.

    The first epoch, which compiles, lies before it is ready.
    """
    images, labels = random_images(config.epoch_images)
    keras.backend.experimental.enable_tf_random_generator()
    trainer = Trainer(_network(config))
    trainer.compile(optimizer=keras.optimizers.Adam(LEARNING_RATE))
    jit = is_dense(trainer.network)
    loop = ResidentLoop(trainer, images, labels, BATCH_SIZE, jit)
    epochs = iter(range(10**9))

    def run() -> dict[str, float]:
        epoch = next(epochs)
        reseed(trainer.network, SEED, epoch)
        order = np.random.default_rng([SEED, epoch]).permutation(len(images))
        return loop.epoch(order)

    start = time.perf_counter()
    run()
    return Ready(run, {"first epoch s": time.perf_counter() - start, **threads()})


def plain_fit(config: BenchmarkConfig) -> Ready:
    """Returns the contestant that trains an epoch with compile and fit on arrays."""
    images, labels = random_images(config.epoch_images)
    network = _network(config)
    _compile(network, keras.optimizers.Adam(LEARNING_RATE))

    def run(n: int = len(images)) -> dict[str, float]:
        history = network.fit(
            images[:n], labels[:n], batch_size=BATCH_SIZE, epochs=1, verbose=0
        ).history
        return {name: float(values[0]) for name, values in history.items()}

    run(3 * BATCH_SIZE + 1)
    return Ready(run, threads())


def our_sweep(config: BenchmarkConfig) -> Ready:
    """Returns the contestant that prunes and judges every k and kind as our sweep."""
    images, labels = random_images(config.test_images)
    dense = _dense(config)
    cutter = cells.Cutter(dense, "layer")

    def judge(kind: str, k: float) -> tuple[float, float]:
        cut = cutter.weights(k) if kind == "weight" else cutter.units(k)
        logits = predict_logits(cut.network, images)
        loss = metrics.cross_entropy(logits, labels) + cut.penalty
        return loss, metrics.accuracy(logits, labels)

    return _sweep(config, judge)


def cloned_sweep(config: BenchmarkConfig, batch_size: int) -> Ready:
    """Returns the contestant that clones, masks, compiles, evaluates at every k."""
    images, labels = random_images(config.test_images)
    dense = _dense(config)

    def judge(kind: str, k: float) -> tuple[float, float]:
        network = keras.models.clone_model(dense)
        network.set_weights(_masked(dense.get_weights(), kind, k))
        _compile(network)
        return tuple(network.evaluate(images, labels, batch_size=batch_size, verbose=0))

    return _sweep(config, judge)


def _sweep(
    config: BenchmarkConfig, judge: Callable[[str, float], tuple[float, float]]
) -> Ready:
    def run() -> dict[str, float]:
        found: dict[str, float] = {}
        for k in config.k_vals:
            for kind in KINDS:
                loss, accuracy = judge(kind, k)
                found |= {f"loss {kind} {k}": loss, f"accuracy {kind} {k}": accuracy}
        return found

    for kind in KINDS:
        judge(kind, config.k_vals[0])
    return Ready(run, threads())


def _masked(weights: list[Any], kind: str, k: float) -> list[Any]:
    """Returns kernels whose smallest weights, or columns, are zero; the last whole."""
    pruned = []
    for kernel in weights[:-1]:
        if kind == "weight":
            keep = keep_largest(np.abs(kernel), k)
        else:
            norms = np.sqrt(np.sum(np.square(kernel, dtype=np.float64), axis=0))
            keep = keep_largest(norms, k)
        pruned.append(np.where(keep, kernel, np.float32(0)))
    return [*pruned, weights[-1]]


def _network(config: BenchmarkConfig) -> keras.Model:
    keras.utils.set_random_seed(SEED)
    return models.build("mlp", IMAGE, CLASSES, widths=config.widths)


def _dense(config: BenchmarkConfig) -> keras.Model:
    return _network(config) if config.run is None else trained_network(config.run)[0]


def _compile(network: keras.Model, optimizer: Any = "rmsprop") -> None:
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    network.compile(optimizer=optimizer, loss=loss, metrics=["accuracy"])


def threads() -> Mapping[str, str]:
    """Returns TensorFlow's thread settings, as the table tells them."""
    counts = {
        "intra-op": tf.config.threading.get_intra_op_parallelism_threads(),
        "inter-op": tf.config.threading.get_inter_op_parallelism_threads(),
    }
    text = ", ".join(f"{name} {n or 'default'}" for name, n in counts.items())
    return {"threads": text}
