"""Contestants of the suite clustering in TensorFlow."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import tf_keras as keras

from experiments.benchmarks.clustering import (
    BATCH_SIZE,
    CLASSES,
    CLUSTERS,
    LEARNING_RATE,
    MOMENTUM,
    OLD_SHARE,
    PIXELS,
    SOFT_WEIGHT,
    STUDENT,
    TEACHER,
    TEMPERATURE,
    WEIGHT,
)
from experiments.benchmarks.config import BenchmarkConfig
from experiments.benchmarks.keras_jobs import threads
from experiments.benchmarks.worker import Ready
from network_pruning.clustering.model import ClusteringModel
from network_pruning.distillation.distiller import Distiller
from network_pruning.evaluation.predict import predict_logits
from network_pruning.resident import ResidentLoop
from network_pruning.taps import weighted_layers
from network_pruning.training import Trainer

SEED = 0


def plain(config: BenchmarkConfig, filters: Sequence[int] = STUDENT) -> Ready:
    """Makes the contestant that trains with labels alone.

    Args:
        config: Of the benchmark.
        filters: Of the network.

    Returns:
        The contestant, warm.
    """
    return steps(Trainer(quick(filters)), config)


def clustered(config: BenchmarkConfig, kind: str, first: bool) -> Ready:
    """Makes the contestant whose activations are clustered.

    Args:
        config: Of the benchmark.
        kind: sample, spatial or channel.
        first: Whether the first layer is clustered, too.

    Returns:
        The contestant, warm.
    """
    return steps(Trainer(clustering_model(TEACHER, kind, first)), config)


def clustering_model(filters: Sequence[int], kind: str, first: bool) -> ClusteringModel:
    """Returns the network called quick, its activations clustered."""
    network = quick(filters)
    paths = weighted_layers(network)[0 if first else 1 :]
    return ClusteringModel(network, paths, kind, CLUSTERS, WEIGHT, OLD_SHARE)


def distilled(config: BenchmarkConfig, stored: bool) -> Ready:
    """Makes the contestant that distils.

    Args:
        config: Of the benchmark.
        stored: Whether the teacher's outputs are there before the step.

    Returns:
        The contestant, warm.
    """
    student, teacher = quick(STUDENT), quick(TEACHER)
    asked = None if stored else teacher
    trainer = Distiller(student, asked, "kd", TEMPERATURE, SOFT_WEIGHT)
    targets = predict_logits(teacher, examples(config)[0]) if stored else None
    return steps(trainer, config, targets)


def steps(
    trainer: Trainer,
    config: BenchmarkConfig,
    targets: npt.NDArray[np.float32] | None = None,
) -> Ready:
    """Makes a contestant that takes the steps of `jobs.fit`.

    Args:
        trainer: What trains, not compiled.
        config: Of the benchmark.
        targets: See `ResidentLoop`.

    Returns:
        The contestant, warm.
    """
    trainer.compile(keras.optimizers.SGD(LEARNING_RATE, MOMENTUM))
    images, labels = examples(config)
    jit = trainer.jit_pays
    loop = ResidentLoop(trainer, images, labels, BATCH_SIZE, jit, targets=targets)
    rng = np.random.default_rng(SEED)

    def run() -> dict[str, float]:
        return loop.epoch(rng.permutation(len(images)))

    run()
    facts = {"params": trainer.network.count_params(), **threads()}
    return Ready(run, facts)


def examples(
    config: BenchmarkConfig,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Returns images [n, 32, 32, 3] and labels [n] of the steps of a round."""
    rng = np.random.default_rng(SEED)
    n = config.steps * BATCH_SIZE
    return rng.random((n, *PIXELS), np.float32), rng.integers(0, CLASSES, n)


def quick(filters: Sequence[int]) -> keras.Model:
    """Returns the network called quick: three convolutions, two dense layers."""
    layers = keras.layers
    keras.utils.set_random_seed(SEED)
    x = inputs = keras.Input(PIXELS)
    pools = layers.MaxPool2D, layers.AvgPool2D, layers.AvgPool2D
    for width, pool in zip(filters, pools, strict=True):
        x = layers.Conv2D(width, 5, padding="same", activation="relu")(x)
        x = pool(3, 2, padding="same")(x)
    x = layers.Dense(64)(layers.Flatten()(x))
    return keras.Model(inputs, layers.Dense(CLASSES)(x))
