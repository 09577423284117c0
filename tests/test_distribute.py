"""Several devices and several workers do what one process does."""

from __future__ import annotations

import dataclasses
import functools
import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from network_pruning.jobs import devices, fit
from network_pruning.runs import RunDir
from tests import distribute_worker as worker
from tests.processes import clusters, finish, start, stop_all


@pytest.fixture(autouse=True)
def no_process_stays():
    yield
    stop_all()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Gives way -> (folder, results) of each process; runs them when first asked."""
    place = tmp_path_factory.mktemp("distribute")

    @functools.cache
    def run(how: str, *names: str) -> dict[str, tuple[Path, dict]]:
        tf_configs = clusters() if how == "multi_worker" else [None]
        words = ["-m", "tests.distribute_worker", how]
        processes = [
            start([*words, str(place / name), str(place / f"{name}.json")], tf_config)
            for name, tf_config in zip(names, tf_configs, strict=True)
        ]
        said = finish(*processes)
        for process, (_, errors) in zip(processes, said, strict=True):
            assert process.returncode == 0, errors[-2000:]
        return {
            name: (place / name, json.loads((place / f"{name}.json").read_text()))
            for name in names
        }

    def of(way: str) -> tuple[Path, dict]:
        if way == "mirrored":
            return run("mirrored", "mirrored")[way]
        return run("multi_worker", "worker-0", "worker-1")[way]

    return of


@pytest.fixture(scope="module")
def by_hand():
    """Trains with a plain loop; returns losses of the steps and last weights."""
    return {name: _by_hand(size) for name, size in worker.RAGGED.items()}


def _by_hand(size: int) -> tuple[list[float], list[np.ndarray]]:
    data, plan = worker.dataset(size), worker.plan("none")
    keras.utils.set_random_seed(plan.seed)
    network = worker.network()
    optimizer = keras.optimizers.Adam(plan.learning_rate)
    steps = []
    for epoch in range(plan.epochs):
        order = np.random.default_rng([plan.seed, epoch]).permutation(size)
        for start_at in range(0, size, plan.batch_size):
            rows = order[start_at : start_at + plan.batch_size]
            with tf.GradientTape() as tape:
                chances = tf.nn.log_softmax(network(data.x_train[rows], training=True))
                right = tf.gather(chances, data.y_train[rows], axis=1, batch_dims=1)
                kernel = network.get_layer("hidden").kernel
                penalty = 0.01 * tf.reduce_sum(kernel * kernel)
                loss = -tf.reduce_mean(right) + penalty
            weights = network.trainable_variables
            gradients = tape.gradient(loss, weights)
            optimizer.apply_gradients(zip(gradients, weights, strict=True))
            steps.append(float(loss))
    return steps, network.get_weights()


WAYS = (
    "mirrored",
    pytest.param("worker-0", marks=pytest.mark.slow),
    pytest.param("worker-1", marks=pytest.mark.slow),
)


@pytest.mark.parametrize("ragged", worker.RAGGED)
@pytest.mark.parametrize("way", WAYS)
def test_each_of_twenty_steps_has_the_loss_of_one_process(
    trained, by_hand, way, ragged
):
    steps, _ = by_hand[ragged]
    assert len(steps) > 20
    assert trained(way)[1]["replicas"] == 2
    np.testing.assert_allclose(trained(way)[1][ragged], steps, rtol=0, atol=1e-5)


@pytest.mark.parametrize("ragged", worker.RAGGED)
@pytest.mark.parametrize("way", WAYS[:2])
def test_ends_with_the_weights_of_one_process(trained, by_hand, way, ragged):
    run = RunDir(trained(way)[0])
    network = fit.finished(run, ragged).load(run, "last")
    for weight, expected in zip(network.get_weights(), by_hand[ragged][1], strict=True):
        scale = np.abs(expected).max()
        np.testing.assert_allclose(weight, expected, rtol=0, atol=1e-5 * scale)


@pytest.fixture(scope="module")
def resident(tmp_path_factory):
    """Trains with the loop of one process."""
    run = RunDir(tmp_path_factory.mktemp("resident"))
    plan = dataclasses.replace(worker.plan("none"), jit=False)
    return {
        name: fit.fit(worker.network, worker.dataset(n), plan, run, name)
        for name, n in worker.RAGGED.items()
    }


@pytest.mark.parametrize("ragged", worker.RAGGED)
@pytest.mark.parametrize("way", WAYS[:2])
def test_validates_as_one_process(trained, resident, way, ragged):
    several = fit.finished(RunDir(trained(way)[0]), ragged)
    for expected, numbers in zip(
        resident[ragged].history, several.history, strict=True
    ):
        validation = [key for key in expected if key.startswith("val_")]
        assert len(validation) == 3
        for key in validation:
            assert numbers[key] == pytest.approx(expected[key], abs=1e-5)


@pytest.mark.parametrize("way", WAYS[:2])
def test_resumes_normalised_networks_with_empty_shares(trained, way):
    run = RunDir(trained(way)[0])
    straight, resumed = (
        fit.finished(run, name).load(run, "last").get_weights()
        for name in ("noisy", "again")
    )
    assert len(straight) == 8
    for expected, weight in zip(straight, resumed, strict=True):
        assert np.isfinite(expected).all()
        np.testing.assert_allclose(weight, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_only_the_chief_keeps_files(trained):
    folder, _ = trained("worker-1")
    assert [path for path in folder.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("way", WAYS)
def test_a_training_that_the_chief_has_finished_is_not_repeated(trained, way):
    assert trained(way)[1]["steps of the finished"] == 0


@pytest.mark.parametrize("way", WAYS[1:])
def test_workers_with_different_jobs_all_stop(trained, way):
    assert not trained(way)[1]["same"]
    assert "type the same command on each" in trained(way)[1]["different"]


def test_explains_a_lost_worker():
    lost = tf.errors.UnavailableError(None, None, "socket closed")
    with pytest.raises(OSError, match="type the same command on every worker"):
        with devices.explaining_lost_workers("multi_worker"):
            raise lost
    with pytest.raises(tf.errors.UnavailableError):
        with devices.explaining_lost_workers("none"):
            raise lost
