"""Numbers of parsimonious training beside the published ones."""

import pytest

from experiments.parsimonies import verdicts
from experiments.parsimonies.presets import PRESETS

BASE, SAMPLE = "CIFAR10_baseline", "CIFAR10_sample_clustering"


def seeds(*values):
    return dict(enumerate(values))


def test_published_numbers_are_of_presets_and_marked_as_recalled():
    published = verdicts.read_published()
    assert {preset for preset, _ in published} < set(PRESETS)
    assert published[BASE, "accuracy"][0] == "0.7632"
    assert all("recalled" in provenance for _, provenance in published.values())


@pytest.mark.parametrize(
    ("metric", "base", "ours", "said"),
    [
        ("accuracy", (0.7, 0.7, 0.7), (0.72, 0.71, 0.73), "met"),
        ("accuracy", (0.7, 0.7, 0.7), (0.71, 0.71, 0.73), "missed"),
        ("accuracy", (0.7, 0.7, 0.7), (0.8, 0.8), "no bar"),
        ("accuracy", (0.7,), (), "not run"),
        ("nmi fc1 K=100", (0.4, 0.41, 0.42), (0.43, 0.44, 0.45), "met"),
        ("nmi fc1 K=100", (0.4, 0.41, 0.42), (0.41, 0.42, 0.43), "missed"),
    ],
)
def test_a_kind_of_clustering_is_held_against_the_baseline(metric, base, ours, said):
    found = {(BASE, metric): seeds(*base), (SAMPLE, metric): seeds(*ours)}
    assert verdicts.verdict(found, SAMPLE, metric) == said
    assert verdicts.verdict(found, BASE, metric) == "no bar"


def test_what_was_never_run_stands_in_the_ledger_too():
    found = {(BASE, "accuracy"): seeds(0.75, 0.77)}
    settings = {"epochs": 60, "num_valid": 5000, "batch_size": 100}
    length, flags = verdicts.length(settings), verdicts.length_flags(settings)
    told = verdicts.ledger_lines(found, length, flags, "today")
    lines = {line.key[2:4]: line for line in told}
    line = lines[BASE, "accuracy"]
    assert (line.ours_mean, line.seeds, line.published) == ("0.76000", "0 1", "0.7632")
    assert line.command.endswith("--epochs=60 --num_valid=5000")
    missing = lines[SAMPLE, "accuracy"]
    assert (missing.verdict, missing.ours_mean, missing.date) == ("not run", "", "")


def test_trainings_that_differ_are_told_apart():
    settings = {"epochs": 60, "num_valid": 5000, "batch_size": 100}
    assert verdicts.length(settings) == "60 epochs"
    short = {**settings, "num_train": 500, "batch_size": 50, "num_valid": 200}
    assert verdicts.length(short) == (
        "60 epochs of 500 images in batches of 50, 200 select"
    )
    assert verdicts.length_flags(short) == (
        "--epochs=60 --num_valid=200 --num_train=500 --batch_size=50"
    )


def test_what_a_cut_leaves_has_no_bar():
    metric = "accuracy, 0.5 cut by l1"
    found = {(name, metric): seeds(0.4, 0.5, 0.6) for name in (BASE, SAMPLE)}
    assert verdicts.verdict(found, SAMPLE, metric) == "no bar"
