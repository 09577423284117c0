"""Teachers and students of an experiment, and the distiller around them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import tf_keras as keras

from experiments.gpeds.config import GpedConfig
from experiments.gpeds.sets import Sets
from experiments.gpeds.words import DARK, DARK_NOISE, HEADS
from network_pruning.posterior import expectations
from network_pruning.posterior.distiller import PosteriorDistiller
from network_pruning.posterior.ensembles import Ensemble
from network_pruning.posterior.samplers.sgld import sgld
from network_pruning.posterior.students import Student

Build = Callable[..., keras.Model]


@dataclass(frozen=True)
class Wanted:
    """A student that is asked for.

    Attributes:
        target: What it learns.
        estimator: us or uo.
        factors: On the widths of the base student.
    """

    target: str
    estimator: str
    factors: tuple[float, float] = (1.0, 1.0)

    @property
    def name(self) -> str:
        """For files and tables."""
        if self.target == DARK:
            return f"bayesian_{DARK}"
        first, second = self.factors
        return f"{self.target}-{self.estimator}-{first:g}-{second:g}"


def wanted(config: GpedConfig) -> list[Wanted]:
    """Returns the students that the flags ask for."""
    found = [
        Wanted(target, estimator, factors)
        for target in config.target
        for estimator in config.estimator
        for factors in config.factors()
    ]
    dark = Wanted(DARK, "us")
    return list(dict.fromkeys(dark if w.target == DARK else w for w in found))


def teacher_of(config: GpedConfig, sets: Sets, build: Build) -> keras.Model:
    """Returns the teacher, at its random start."""
    keras.utils.set_random_seed(config.seed)
    return build(config.teacher, sets.shape, sets.classes)


def network_of(
    config: GpedConfig, sets: Sets, build: Build, which: Wanted, seed: int = 1
) -> keras.Model:
    """Returns the network of a student; `seed` settles where it starts."""
    first, second = which.factors
    options: dict[str, Any] = {"head": HEADS.get(which.target, which.target)}
    if which.target != DARK:
        options["dropout"] = config.student_dropout
    if config.teacher == "gped_fc" and which.target != DARK:
        widths = [
            max(1, int(w * k + 1e-9))
            for w, k in zip(config.student, which.factors, strict=True)
        ]
        options["widths"] = widths
    elif config.teacher != "gped_fc":
        options["multiplication_factor_1"] = first
        options["multiplication_factor_2"] = second
    keras.utils.set_random_seed(config.seed_of(1_000, seed))
    network = build(config.teacher, sets.shape, sets.classes, **options)
    return keras.Model(network.inputs, network.outputs, name=which.name)


def expectation_of(config: GpedConfig, target: str) -> expectations.Expectation:
    """Returns what a student of a target learns."""
    if target == "predictive":
        return expectations.predictive_mean(config.temperature)
    if target == DARK:
        return expectations.predictive_mean()
    return expectations.get(target)


def student_of(
    config: GpedConfig, which: Wanted, network: keras.Model, **options: Any
) -> Student:
    """Returns a student as the flags say, unless the options say otherwise."""
    usual = {
        "thin": config.thin_of(which.target),
        "steps": config.student_steps,
        "batch_size": config.batch_size,
        "input_noise": config.input_noise,
    }
    if which.target == DARK:
        usual["input_noise"] = config.input_noise or DARK_NOISE
    expectation = expectation_of(config, which.target)
    return Student(network, expectation, which.estimator, **(usual | options))


def chain_students(config: GpedConfig, sets: Sets, build: Build) -> list[Student]:
    """Returns the students that learn while the chain walks, each with its Adam."""
    found = []
    for which in wanted(config):
        network = network_of(config, sets, build, which)
        rate = student_rate(config, sets, which)
        optimizer = keras.optimizers.Adam(rate)
        found.append(student_of(config, which, network, optimizer=optimizer))
    return found


def student_rate(config: GpedConfig, sets: Sets, which: Wanted) -> Any:
    """Returns the learning rate of a student: halved every so many passes of the chain.

    A pass is one over the images that the posterior is of; the optimiser counts updates
    of the student.
    """
    rate = config.student_learning_rate
    if not config.student_decay_epochs:
        return rate
    per_pass = len(sets.train[0]) / config.batch_size
    updates = config.student_decay_epochs * per_pass / config.thin_of(which.target)
    steps = max(1, round(updates * config.student_steps))
    return keras.optimizers.schedules.ExponentialDecay(rate, steps, 0.5, staircase=True)


def distiller_of(
    config: GpedConfig,
    sets: Sets,
    teacher: keras.Model,
    students: Sequence[Student],
    ensembles: Sequence[Ensemble] = (),
    burn_in: int = 0,
) -> PosteriorDistiller:
    """Returns the distiller, compiled."""
    sampler = sgld(
        config.eta, prior_precision=config.prior_precision, noise=config.noise
    )
    distiller = PosteriorDistiller(
        teacher,
        students,
        sampler,
        len(sets.train[0]),
        pool=sets.pool,
        ensembles=ensembles,
        burn_in=burn_in,
        seed=config.seed,
    )
    distiller.compile(keras.optimizers.Adam(config.student_learning_rate))
    return distiller
