"""Contestants of the suite posterior in TensorFlow."""

from __future__ import annotations

import dataclasses

import tf_keras as keras

import models
from experiments.benchmarks import floor_jobs
from experiments.benchmarks.config import CLASSES, IMAGE, BenchmarkConfig
from experiments.benchmarks.keras_jobs import threads
from experiments.benchmarks.posterior import (
    BATCH_SIZE,
    CASES,
    ETA,
    PRECISION,
    STEPS,
    THIN,
    WIDTHS,
)
from experiments.benchmarks.worker import Ready, random_images
from network_pruning.posterior.chains import ResidentChain
from network_pruning.posterior.distiller import PosteriorDistiller
from network_pruning.posterior.samplers.noise import Kind
from network_pruning.posterior.samplers.sgld import sgld
from network_pruning.posterior.students import Student


def chain(
    config: BenchmarkConfig, noise: Kind = "two_point", students: int = 0
) -> Ready:
    """Makes the contestant that walks our chain.

    Args:
        config: Of the benchmark.
        noise: two_point or gaussian.
        students: That learn on it.

    Returns:
        The contestant, warm.
    """
    del config
    images, labels = random_images(CASES)
    teacher = models.build("gped_fc", IMAGE, CLASSES)
    networks = [models.build("gped_fc", IMAGE, CLASSES) for _ in range(students)]
    pupils = [
        Student(keras.Model(one.inputs, one.outputs, name=f"student{n}"), thin=THIN)
        for n, one in enumerate(networks)
    ]
    sampler = sgld(ETA, prior_precision=PRECISION, noise=noise)
    distiller = PosteriorDistiller(teacher, pupils, sampler, CASES, pool=images)
    distiller.compile()
    walk = ResidentChain(distiller, images, labels, BATCH_SIZE)

    def run() -> dict[str, float]:
        return walk.advance(STEPS)

    walk.advance(THIN)
    return Ready(run, {"params": teacher.count_params(), **threads()})


def floor(config: BenchmarkConfig) -> Ready:
    """Returns the contestant that does the matrix products of as many steps."""
    network = dataclasses.replace(config, widths=WIDTHS)
    return floor_jobs.with_tensorflow(network, STEPS, BATCH_SIZE)
