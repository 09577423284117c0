"""A chain on two devices beside the same chain on one; test_mirrored.py starts it."""

from __future__ import annotations

import json

import numpy as np
import tensorflow as tf
import tf_keras as keras

from network_pruning.posterior.checkpoints import variables
from network_pruning.posterior.distiller import PosteriorDistiller
from network_pruning.posterior.samplers.sghmc import sghmc
from network_pruning.posterior.students import Student
from network_pruning.training import DivergedError
from tests.posterior.small import BATCH, CASES, CLASSES, network


def walk(strategy: tf.distribute.Strategy) -> PosteriorDistiller:
    """Returns the chain and its student after eight steps."""
    images = np.random.default_rng(0).random((CASES, 2, 2, 1), np.float32)
    labels = np.random.default_rng(1).integers(0, CLASSES, CASES)
    with strategy.scope():
        keras.utils.set_random_seed(5)
        student = Student(network("s"), estimator="uo", thin=2, batch_size=BATCH)
        distiller = PosteriorDistiller(
            network("t"), [student], sghmc(0.001), CASES, pool=images, seed=3
        )
        distiller.compile(keras.optimizers.Adam(0.01))
    pairs = tf.data.Dataset.from_tensor_slices((images, labels)).batch(BATCH)
    distiller.fit(pairs.repeat(2), verbose=0)
    return distiller


def values(distiller: PosteriorDistiller) -> dict[str, np.ndarray]:
    """Returns all that they are."""
    return {name: value.numpy() for name, value in variables(distiller).items()}


def refusal(strategy: tf.distribute.Strategy, distiller: PosteriorDistiller) -> str:
    """Returns what a lesson of a broken position says, students being as they were."""
    weight = distiller.teacher.trainable_variables[0]
    before = values(distiller)
    with strategy.scope():
        weight.assign(np.nan * tf.zeros_like(weight))
        try:
            distiller.take_turns(10)
        except DivergedError as error:
            said = str(error)
    for name, value in values(distiller).items():
        if name.startswith("students/"):
            np.testing.assert_array_equal(value, before[name])
    return said


def main() -> None:
    """Prints the largest difference of each variable, and a refusal."""
    cpu = tf.config.list_physical_devices("CPU")[0]
    half = tf.config.LogicalDeviceConfiguration()
    tf.config.set_logical_device_configuration(cpu, [half, half])
    mirrored = tf.distribute.MirroredStrategy()
    on_both = walk(mirrored)
    both, one = values(on_both), values(walk(tf.distribute.get_strategy()))
    gaps = {name: float(np.abs(both[name] - one[name]).max()) for name in one}
    count = mirrored.num_replicas_in_sync
    said = refusal(mirrored, on_both)
    print(json.dumps({"replicas": count, "gaps": gaps, "refusal": said}))


if __name__ == "__main__":
    main()
