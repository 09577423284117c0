"""Data-free compression that is killed in every step: typed again, it ends the same."""

import shutil
import signal
import time

import numpy as np
import pytest

from experiments.datafrees.found import RECORDS, TEACHER
from network_pruning.inversion import recording, tallies
from network_pruning.inversion.records import ActivationRecords
from network_pruning.inversion.shards import load_reconstructed
from network_pruning.runs import RunDir
from tests.experiments import datafree_worker as worker
from tests.processes import start, stop_all

MOMENTS = {
    "compute_stats": "unfinished-*.npz",
    "optimize_dataset": "images/00001.npz",
    "distill": "training/state.npz",
}
"""What is there once a step is under way."""


def folder_of(root, procedure):
    (path,) = root.glob(f"tiny/{procedure}-*")
    return path


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_killed_in_every_step_and_typed_again(tmp_path, monkeypatch):
    # As keep_often sets them.
    monkeypatch.setattr(recording, "BATCH", 10)
    monkeypatch.setattr(tallies, "SECONDS", 0.0)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    worker.take(str(whole), "train")
    shutil.copytree(whole, broken)
    worker.take(str(whole), *MOMENTS)
    for procedure, moment in MOMENTS.items():
        kill_when(broken, f"tiny/{procedure}-*/{moment}")
        assert not (folder_of(broken, procedure) / "done.json").exists()
    worker.take(str(broken), *MOMENTS)
    assert_the_same(whole, broken)
    assert not list(broken.rglob("unfinished-*")) + list(broken.rglob("*.tmp.*"))


def kill_when(root, there):
    """Starts the steps, and kills them once something is there."""
    process = start(("-m", "tests.experiments.datafree_worker", str(root)))
    try:
        while process.poll() is None and not list(root.glob(there)):
            time.sleep(0.005)
    finally:
        stop_all()
    assert process.returncode == -signal.SIGKILL


def assert_the_same(whole, broken):
    for procedure in MOMENTS:
        folders = [folder_of(root, procedure) for root in (whole, broken)]
        assert folders[0].name == folders[1].name
        one, other = (RunDir(path).read_json("done.json") for path in folders)
        assert one == other
    paths = [folder_of(root, "compute_stats") / RECORDS for root in (whole, broken)]
    one, other = map(ActivationRecords.load, paths)
    assert one.digest == other.digest
    one, other = (
        load_reconstructed(folder_of(root, "optimize_dataset"))
        for root in (whole, broken)
    )
    assert one.fingerprint == other.fingerprint
    students = [
        RunDir(folder_of(root, "distill")).read_model(TEACHER).get_weights()
        for root in (whole, broken)
    ]
    for one, other in zip(*students, strict=True):
        np.testing.assert_array_equal(one, other)
