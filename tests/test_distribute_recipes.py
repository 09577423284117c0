"""Recipes on two replicas take the steps of one process."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

CODE = """
import dataclasses, json, sys
import tensorflow as tf
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0],
    [tf.config.LogicalDeviceConfiguration()] * 2,
)
from network_pruning.jobs.fit import fit
from network_pruning.jobs.plans import FitPlan
from network_pruning.runs import RunDir
from tests import distribute_worker as worker

found = {}
for optimizer in ("sgd", "adam"):
    plan = FitPlan(
        2, 16, 0.05, seed=5, optimizer=optimizer, weight_decay=0.1, schedule="step",
        milestones=(0.5,), augment="flip_shift", shift=1, early_stopping=5,
    )
    histories = []
    for distribute in ("none", "mirrored"):
        run = RunDir(f"{sys.argv[1]}/{optimizer}-{distribute}")
        chosen = dataclasses.replace(plan, distribute=distribute)
        data = worker.dataset(97)
        training = fit(worker.network, data, chosen, run, "checkpoints")
        histories.append(training.history)
    found[optimizer] = histories
print(json.dumps(found))
"""


@pytest.mark.slow
def test_a_recipe_on_two_replicas_equals_one_process(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", CODE, tmp_path],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    for histories in json.loads(done.stdout.splitlines()[-1]).values():
        for ours, theirs in zip(*histories, strict=True):
            assert ours == pytest.approx(theirs, abs=1e-5)
