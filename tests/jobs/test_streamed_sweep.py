"""The main job on images that do not fit in memory."""

import dataclasses

import pytest

import models
from network_pruning.configs import SweepConfig
from network_pruning.evaluation.rows import read_rows
from network_pruning.jobs import main_job
from network_pruning.jobs.rankings import Ranking
from network_pruning.runs import RunDir
from tests.streamed import Streamed

FLAGS = {
    **{"dataset": "uci_digits", "epochs": 1, "widths": (8,), "k_vals": (0.5,)},
    **{"criterion": "taylor", "input_range": (0.0, 2.0)},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory, few_digits):
    config = SweepConfig(output_dir=str(tmp_path_factory.mktemp("results")), **FLAGS)

    def run(name, dataset):
        named = dataclasses.replace(config, experiment_id=name)
        main_job.run(named, lambda *_, **__: dataset, models.build)
        return RunDir(f"{config.output_dir}/{name}")

    return run("streamed", Streamed(few_digits)), run("resident", few_digits)


def test_its_rows_are_those_of_images_in_memory(folder):
    ours, theirs = (read_rows(run.read_text("rows.csv")) for run in folder)
    assert len(ours) == 2
    for one, other in zip(ours, theirs, strict=True):
        assert one.params == other.params
        assert one.accuracy == pytest.approx(other.accuracy, abs=0.04)


def test_its_ranking_says_of_which_images_it_is(folder, few_digits):
    for run in folder:
        asked = Ranking.load(run, "scores/seed=0.npz").asked
        assert asked.data == f"{few_digits.fingerprint} in 0,2"
