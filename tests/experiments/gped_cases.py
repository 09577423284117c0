"""A tiny chain: its flags, its images, and narrow networks."""

from __future__ import annotations

import numpy as np

import models
from experiments.gpeds import sets
from experiments.gpeds.config import GpedConfig

TINY = GpedConfig(
    student=(6, 5),
    target=("both",),
    estimator=("uo",),
    iterations=40,
    burn_in=8,
    thin=4,
    batch_size=8,
    ensemble_every=5,
    recorded=4,
    step_size=1e-3,
    num_valid=10,
)


def random_set(count, seed):
    generator = np.random.default_rng(seed)
    images = generator.random((count, 4, 4, 1), np.float32)
    return images, generator.integers(0, 3, count)


def make_sets():
    train, valid, test = (random_set(n, i) for i, n in enumerate((32, 10, 20)))
    strangers = {"elsewhere": random_set(12, 3)[0]}
    return sets.Sets(train, train[0], valid, test, strangers, "f" * 64, 3)


def build(name, shape, classes, widths=(7, 6), **options):
    """Builds networks as wide as it is asked to, or narrow ones: the teacher, too."""
    return models.build(name, shape, classes, widths=widths, **options)
