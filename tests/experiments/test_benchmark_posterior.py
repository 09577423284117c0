"""The suite posterior: who takes part, and that all walk the same chain."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

import models
from experiments.benchmarks import floor_jobs, posterior
from experiments.benchmarks.config import BenchmarkConfig
from experiments.benchmarks.race import Sample, Timed
from network_pruning.posterior.distiller import PosteriorDistiller
from network_pruning.posterior.samplers.sgld import sgld

TINY = BenchmarkConfig(suite="posterior", rounds=1, torch=False)


def timed(name, wall):
    return Timed(name, {}, [Sample(wall, wall)], {})


def test_lines_have_the_bars_of_pytorch_and_of_a_student():
    config = dataclasses.replace(TINY, torch=True)
    names = [one.name for one in posterior.contestants(config)]
    seconds = dict(zip(names, (1.0, 2.0, 1.1, 1.3, 0.9, 4.0, 3.1), strict=True))
    found = posterior.lines({n: timed(n, s) for n, s in seconds.items()})
    assert [line.met for line in found] == ["yes", "", "", "no"]
    assert [line.wall.peer for line in found] == [3.1, 3.1, 0.9, 1.1]
    assert [one.name for one in posterior.contestants(TINY)] == names[:5]


def test_torch_takes_the_same_step():
    torch = pytest.importorskip("torch")
    from experiments.benchmarks import torch_posterior_jobs as theirs

    generator = np.random.default_rng(0)
    images = generator.random((8, 28, 28, 1), np.float32)
    labels = generator.integers(0, 10, 8)
    teacher = models.build("gped_fc", (28, 28, 1), 10)
    weights = teacher.get_weights()
    sampler = sgld(posterior.ETA, prior_precision=posterior.PRECISION, noise="gaussian")
    distiller = PosteriorDistiller(teacher, [], sampler, posterior.CASES)
    drawn = distiller.draw_noise(tf.constant(0))
    twin = theirs.perceptron()
    places = np.cumsum([weight.size for weight in weights])[:-1]
    noise = np.split(drawn.numpy(), places)
    noise = [n.reshape(w.shape) for n, w in zip(noise, weights, strict=True)]

    def flipped(arrays):
        return [torch.tensor(np.ascontiguousarray(array.T)) for array in arrays]

    with torch.no_grad():
        for own, value in zip(twin.parameters(), flipped(weights), strict=True):
            own.copy_(value)
    pixels = torch.from_numpy(images.reshape(8, -1))
    loss = theirs.step(twin, pixels, torch.from_numpy(labels), flipped(noise))
    each = distiller.walk(tf.constant(images), tf.constant(labels), drawn)
    assert float(tf.reduce_mean(each)) == pytest.approx(float(loss), rel=1e-5)
    for ours, own in zip(teacher.get_weights(), twin.parameters(), strict=True):
        np.testing.assert_allclose(ours.T, own.detach().numpy(), atol=1e-5)


def test_the_floor_counts_the_products_of_a_step():
    sizes = 784, *posterior.WIDTHS, 10
    forward = 2 * posterior.BATCH_SIZE * (784 * 400 + 400 * 400 + 4000)
    inputs = 2 * posterior.BATCH_SIZE * (400 * 400 + 4000)
    assert floor_jobs.step_flops(sizes, posterior.BATCH_SIZE) == 2 * forward + inputs


@pytest.mark.slow
def test_contestants_walk():
    pytest.importorskip("torch")
    from experiments.benchmarks import posterior_jobs
    from experiments.benchmarks import torch_posterior_jobs as theirs

    ours = posterior_jobs.chain(TINY, students=1)
    other = theirs.chain(TINY, threads=1)
    assert ours.facts["params"] == other.facts["params"] == 478_410
    assert np.isfinite(ours.run()["nll"]) and np.isfinite(other.run()["nll"])
    assert posterior_jobs.floor(TINY).facts["flops"] > 0
