"""A teacher, students and data small enough to be followed by hand."""

import numpy as np
import pytest
import tf_keras as keras

from network_pruning.posterior.distiller import PosteriorDistiller
from network_pruning.posterior.samplers.sgld import sgld
from tests.posterior.small import CASES, CLASSES, network


@pytest.fixture(scope="session")
def images():
    return np.random.default_rng(0).random((CASES, 2, 2, 1), np.float32)


@pytest.fixture(scope="session")
def labels():
    return np.random.default_rng(1).integers(0, CLASSES, CASES)


@pytest.fixture
def make(images):
    """Builds a compiled distiller around fresh networks, the same each time."""

    def build(students=(), sampler=None, optimizer=None, **options):
        keras.backend.experimental.enable_tf_random_generator()
        keras.utils.set_random_seed(5)
        jit = options.pop("jit", False)
        teacher = options.pop("teacher", None) or network("teacher")
        made = [each() for each in students]
        sampler = sampler or sgld(0.01, prior_precision=2.0, noise="two_point")
        distiller = PosteriorDistiller(
            teacher, made, sampler, CASES, pool=images, seed=3, **options
        )
        optimizer = optimizer or keras.optimizers.SGD(0.01, momentum=0.5)
        distiller.compile(optimizer, jit_compile=jit)
        return distiller

    return build
