"""A small training, and a stop like kill -9."""

import contextlib

import pytest

import models
from network_pruning.jobs.fit import FitPlan, fit
from network_pruning.jobs.trainings import TrainingState

FOLDER = "checkpoints/seed=0"
PLAN = FitPlan(epochs=3, batch_size=64, learning_rate=0.003, seed=5, jit=False)


class Stopped(BaseException):
    """Stands for kill -9: nothing may catch it."""


def stop(*words):
    raise Stopped


@contextlib.contextmanager
def stopping():
    """Stops a training right behind the first epoch that it completes."""
    write = TrainingState.save

    def save(self, history):
        write(self, history)
        stop()

    with pytest.MonkeyPatch.context() as patched, pytest.raises(Stopped):
        patched.setattr(TrainingState, "save", save)
        yield


def make_network(**options):
    chosen = {"widths": (12,), "batch_norm": True, "dropout": 0.3, "l2": 1e-3}
    return models.build("mlp", (8, 8, 1), 10, **(chosen | options))


def train(digits, run, plan=PLAN, make=make_network, **options):
    return fit(make, digits, plan, run, FOLDER, **options)
