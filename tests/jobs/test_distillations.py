"""Students that teachers guide, stopped and gone on with."""

import dataclasses
import functools

import numpy as np
import pytest

import models
from network_pruning.clustering.model import ClusteringModel
from network_pruning.distillation import stored
from network_pruning.distillation.hints import Hint
from network_pruning.jobs import distillations
from network_pruning.jobs.distillations import LOGITS, Lesson, distill
from network_pruning.jobs.trainings import FILES
from network_pruning.runs import RunDir
from tests.jobs.fitting import FOLDER, PLAN, make_network, stopping

TWO = dataclasses.replace(PLAN, epochs=2)
LESSON = Lesson(temperature=4.0, soft_weight=0.7)


def make_teacher(seed):
    network = models.build("mlp", (8, 8, 1), 10, widths=(20,))
    rng = np.random.default_rng(seed)
    network.set_weights([rng.normal(size=w.shape) for w in network.weights])
    return network


@pytest.fixture
def teachers():
    return [make_teacher(1)]


def teach(digits, run, teachers, lesson=LESSON, plan=TWO, **options):
    folder = options.pop("folder", FOLDER)
    make = functools.partial(make_network, batch_norm=False)
    return distill(make, teachers, digits, plan, lesson, run, folder, **options)


def assert_same(run, training, other_run, other):
    assert training.history == other.history
    for which in FILES:
        weights = training.load(run, which).get_weights()
        expected = other.load(other_run, which).get_weights()
        for weight, value in zip(weights, expected, strict=True):
            np.testing.assert_array_equal(weight, value)


@pytest.mark.parametrize(
    ("lesson", "changes", "stores"),
    [
        (LESSON, {}, True),
        pytest.param(
            LESSON, {"augment": "shift", "shift": 1}, False, marks=pytest.mark.slow
        ),
        pytest.param(
            Lesson(hints=(Hint("hidden_1", "hidden_1"),)),
            {},
            False,
            marks=pytest.mark.slow,
        ),
    ],
    ids=["stored", "augmented", "hints"],
)
def test_stopped_and_resumed_equals_undisturbed(
    few_digits, run, teachers, lesson, changes, stores
):
    plan = dataclasses.replace(TWO, **changes)
    with stopping():
        teach(few_digits, run, teachers, lesson, plan)
    resumed = teach(few_digits, run, teachers, lesson, plan)
    other = RunDir(run.path / "other")
    undisturbed = teach(few_digits, other, teachers, lesson, plan)
    assert_same(run, resumed, other, undisturbed)
    assert run.exists(LOGITS) == stores
    parts = {"loss", "soft", "hard", "accuracy", "agreement"}
    parts |= {"hints"} if lesson.hints else set()
    assert set(resumed.history[0]) == parts | {
        f"val_{name}" for name in ("loss", "cross_entropy", "accuracy")
    }
    assert resumed.history[1]["loss"] < resumed.history[0]["loss"]


def test_students_share_what_their_teachers_say(few_digits, run, monkeypatch):
    teachers = [make_teacher(1), make_teacher(2)]
    plan = dataclasses.replace(PLAN, epochs=1)
    first = teach(few_digits, run, teachers, plan=plan)
    monkeypatch.setattr(stored, "predict_split", None)
    other = Lesson(loss="dist", options={"gamma": 2.0})
    teach(few_digits, run, teachers, other, plan, folder="checkpoints/other")
    assert len(list((run.path / LOGITS).iterdir())) == 1
    monkeypatch.setattr(distillations, "cache_logits", None)
    assert teach(few_digits, run, teachers, plan=plan) == first
    for changed in ((teachers[:1], LESSON), (teachers, other)):
        with pytest.raises(ValueError, match="other settings or data"):
            teach(few_digits, run, *changed, plan)


@pytest.mark.slow
def test_a_student_that_clusters_is_the_hybrid_and_resumes(few_digits, run, teachers):
    def make():
        network = make_network(batch_norm=False)
        return ClusteringModel(network, ["hidden_1"], clusters=8, reset_every=2)

    def teach_it(run, **options):
        return distill(make, teachers, few_digits, TWO, LESSON, run, FOLDER, **options)

    with stopping():
        teach_it(run)
    resumed = teach_it(run)
    other = RunDir(run.path / "other")
    assert_same(run, resumed, other, teach_it(other))
    last = resumed.history[-1]
    assert last["hidden_1_regulariser"] > 0
    assert 0 < last["hidden_1_occupancy"] <= 1
    assert "hidden_1_revivals" in last
    parts = 0.7 * 4.0**2 * last["soft"] + 0.3 * last["hard"]
    assert last["loss"] > parts + 0.5 * last["hidden_1_regulariser"]
    assert resumed.load(run, "last")._is_graph_network


def test_networks_that_do_not_fit_are_refused(few_digits, run):
    wide = models.build("mlp", (8, 8, 1), 11, widths=(20,))
    with pytest.raises(ValueError, match=r"classes: got \[10\].*\[11\]"):
        teach(few_digits, run, [wide])
    with pytest.raises(ValueError, match="teachers: got none"):
        teach(few_digits, run, [])
