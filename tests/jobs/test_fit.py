"""Training that stops and goes on, and what it leaves in its folder."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from network_pruning.evaluation import metrics
from network_pruning.evaluation.predict import predict_split
from network_pruning.jobs import fit as fit_module
from network_pruning.jobs.trainings import FILES, best_epoch, finished
from network_pruning.runs import RunDir
from network_pruning.training import DivergedError, Trainer
from tests.jobs.fitting import (
    FOLDER,
    PLAN,
    Stopped,
    make_network,
    stop,
    stopping,
    train,
)
from tests.streamed import Streamed


@pytest.fixture(scope="module")
def undisturbed(few_digits, tmp_path_factory):
    run = RunDir(tmp_path_factory.mktemp("undisturbed"))
    return run, train(few_digits, run)


def assert_same(run, training, undisturbed):
    other_run, other = undisturbed
    assert training.history == other.history
    for which in FILES:
        weights = training.load(run, which).get_weights()
        expected = other.load(other_run, which).get_weights()
        for weight, value in zip(weights, expected, strict=True):
            np.testing.assert_array_equal(weight, value)


def stop_at(monkeypatch, method, call):
    """Lets a method of RunDir work but for the given call, which ends the process."""
    works, calls = getattr(RunDir, method), []

    def count(self, *words):
        calls.append(words)
        if len(calls) == call:
            raise Stopped
        return works(self, *words)

    monkeypatch.setattr(RunDir, method, count)


def test_the_history_tells_what_happened(few_digits, undisturbed):
    run, training = undisturbed
    keys = {"loss", "cross_entropy", "accuracy"}
    assert len(training.history) == 3
    assert all(set(e) == keys | {f"val_{k}" for k in keys} for e in training.history)
    assert training.history[-1]["loss"] < training.history[0]["loss"]
    for which in FILES:
        numbers = training.history[training.chosen(which)]
        network = training.load(run, which)
        logits, labels = predict_split(network, few_digits, "valid")
        cross_entropy = metrics.cross_entropy(logits, labels)
        penalty = 1e-3 * (network.get_layer("hidden_1").kernel.numpy() ** 2).sum()
        assert numbers["val_cross_entropy"] == cross_entropy
        assert numbers["val_loss"] == pytest.approx(cross_entropy + penalty, rel=1e-6)
        assert numbers["val_accuracy"] == metrics.accuracy(logits, labels)


def test_a_finished_training_is_not_repeated(few_digits, undisturbed):
    run, training = undisturbed
    before = {path: path.stat().st_mtime_ns for path in run.path.rglob("*")}

    def never():
        raise AssertionError("a network was made")

    assert train(few_digits, run, make=never) == training
    assert finished(run, FOLDER) == training
    assert {path: path.stat().st_mtime_ns for path in run.path.rglob("*")} == before
    names = {path.name for path in (run.path / FOLDER).iterdir()}
    assert names == {"val_loss.keras", "val_accuracy.keras", "last.keras"} | {
        "training.json"
    }


@pytest.mark.parametrize(
    ("method", "call"),
    [
        pytest.param("write_arrays", 1, marks=pytest.mark.slow),  # no state yet
        ("write_arrays", 2),  # best files newer than the state
        pytest.param("write_model", 3, marks=pytest.mark.slow),  # between best files
        ("write_json", 1),  # all trained, not yet marked complete
        ("remove", 1),  # complete, the state still there
    ],
)
def test_stopped_and_resumed_equals_undisturbed(
    few_digits, run, undisturbed, monkeypatch, method, call
):
    with monkeypatch.context() as patched:
        stop_at(patched, method, call)
        with pytest.raises(Stopped):
            train(few_digits, run)
    keras.backend.clear_session()
    keras.utils.set_random_seed(99)
    assert_same(run, train(few_digits, run), undisturbed)


def test_stopped_after_every_epoch_equals_undisturbed(few_digits, run, undisturbed):
    seen = []
    for _ in range(PLAN.epochs):
        with stopping():
            train(few_digits, run)
        assert finished(run, FOLDER) is None
    training = train(few_digits, run, on_epoch=lambda *told: seen.append(told))
    assert seen == []
    assert_same(run, training, undisturbed)


def test_what_an_epoch_leaves_beside_its_state_is_not_missed(
    few_digits, run, undisturbed
):
    seen = []

    def note(epoch, numbers, network):
        seen.append((epoch, numbers["val_loss"]))
        if len(seen) == 2:
            stop()

    with pytest.raises(Stopped):
        train(few_digits, run, on_epoch=note)
    assert_same(run, train(few_digits, run, on_epoch=note), undisturbed)
    assert [epoch for epoch, _ in seen] == [0, 1, 1, 2]
    assert seen[1] == seen[2]


def test_compiled_steps_resume_the_same(few_digits, run):
    plan = dataclasses.replace(PLAN, epochs=2, jit=None)

    def make():
        return make_network(batch_norm=False)

    with stopping():
        train(few_digits, run, plan, make)
    resumed = train(few_digits, run, plan, make)
    other = RunDir(run.path / "other")
    assert_same(run, resumed, (other, train(few_digits, other, plan, make)))


def test_another_seed_is_another_training(few_digits, run, undisturbed):
    training = train(few_digits, run, dataclasses.replace(PLAN, seed=6, epochs=1))
    assert training.history[0]["loss"] != undisturbed[1].history[0]["loss"]


def test_streamed_data_train_the_same(few_digits, run):
    options = {"batch_norm": False, "dropout": 0.0}
    plan = dataclasses.replace(PLAN, epochs=2)
    other = RunDir(run.path / "streamed")
    resident = train(few_digits, run, plan, lambda: make_network(**options))
    streamed = train(Streamed(few_digits), other, plan, lambda: make_network(**options))
    for ours, theirs in zip(resident.history, streamed.history, strict=True):
        assert ours == pytest.approx(theirs, abs=1e-4)


@pytest.mark.slow
def test_streamed_data_resume_the_same(few_digits, run):
    plan, streamed = dataclasses.replace(PLAN, epochs=2), Streamed(few_digits)

    with stopping():
        train(streamed, run, plan)
    resumed = train(streamed, run, plan)
    other = RunDir(run.path / "other")
    assert_same(run, resumed, (other, train(streamed, other, plan)))


class Recalling(Trainer):
    """Also compares with stored targets, by a scale that it learns."""

    TOLD = ("loss", "gap")

    def __init__(self, *words):
        super().__init__(*words)
        self.scale = self.add_weight("scale", (), initializer="ones")

    @property
    def state(self):
        return [*super().state, self.scale]

    def train_step(self, data):
        images, labels, targets = data

        def judge():
            found = self.scale * self.call(images, training=True)
            gap = tf.reduce_mean((found - targets) ** 2, axis=1)
            return gap, {"gap": gap}

        return self.learn(judge)


def test_another_trainer_with_targets_resumes_the_same(few_digits, run):
    plan = dataclasses.replace(PLAN, epochs=2)
    targets = 3 * np.eye(10, dtype=np.float32)[few_digits.y_train]
    options = {"make_trainer": Recalling, "targets": targets}
    with stopping():
        train(few_digits, run, plan, **options)
    resumed = train(few_digits, run, plan, **options)
    other = RunDir(run.path / "other")
    assert_same(run, resumed, (other, train(few_digits, other, plan, **options)))
    assert set(resumed.history[0]) >= {"loss", "gap", "val_loss", "val_accuracy"}
    assert resumed.history[1]["gap"] < resumed.history[0]["gap"]


@pytest.mark.parametrize(
    "change", [{"augment": "shift"}, {"distribute": "mirrored"}, None]
)
def test_targets_that_cannot_follow_their_examples_are_refused(few_digits, run, change):
    data = few_digits if change else Streamed(few_digits)
    targets = np.zeros((128, 10), np.float32)
    plan = dataclasses.replace(PLAN, **(change or {}))
    with pytest.raises(ValueError, match="targets: stored ones need") as caught:
        train(data, run, plan, targets=targets)
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="got 127 rows, expected 128"):
        train(few_digits, run, targets=targets[1:])


def history(losses, accuracies):
    pairs = zip(losses, accuracies, strict=True)
    return [{"val_loss": loss, "val_accuracy": acc} for loss, acc in pairs]


@pytest.mark.parametrize(
    ("start", "loss", "accuracy"), [(0, 1, 0), (1, 1, 3), (2, 2, 3), (3, 3, 3)]
)
def test_the_best_epoch_by_both_monitors(start, loss, accuracy):
    epochs = history([3.0, 1.0, 1.0, 2.0], [0.9, 0.5, 0.6, 0.9])
    assert best_epoch(epochs, "val_loss", start) == loss
    assert best_epoch(epochs, "val_accuracy", start) == accuracy


def test_each_monitor_keeps_its_own_epoch(few_digits, run, monkeypatch):
    numbers = iter(history([2.0, 1.0, 3.0, 4.0], [0.9, 0.5, 0.6, 0.7]))
    monkeypatch.setattr(fit_module, "_validate", lambda *words: next(numbers))
    weights = []

    def keep(epoch, numbers, network):
        weights.append(network.get_weights()[0])

    plan = dataclasses.replace(PLAN, epochs=4)
    training = train(few_digits, run, plan, on_epoch=keep)
    for which, epoch in (("val_loss", 1), ("val_accuracy", 0), ("last", 3)):
        assert training.chosen(which) == epoch
        kernel = training.load(run, which).get_weights()[0]
        np.testing.assert_array_equal(kernel, weights[epoch])


def test_early_epochs_can_be_left_out(few_digits, run, monkeypatch):
    numbers = iter(history([1.0, 4.0, 3.0, 2.0], [0.9, 0.5, 0.6, 0.5]))
    monkeypatch.setattr(fit_module, "_validate", lambda *words: next(numbers))
    weights = []

    def keep(epoch, numbers, network):
        weights.append(network.get_weights()[0])

    plan = dataclasses.replace(PLAN, epochs=4, select_from=1)
    training = train(few_digits, run, plan, on_epoch=keep)
    for which, epoch in (("val_loss", 3), ("val_accuracy", 2)):
        assert training.chosen(which) == epoch
        kernel = training.load(run, which).get_weights()[0]
        np.testing.assert_array_equal(kernel, weights[epoch])
    assert finished(run, FOLDER) == training


def test_the_cosine_falls_to_zero(few_digits, run, monkeypatch):
    made = []
    make = fit_module._make_trainer
    monkeypatch.setattr(
        fit_module, "_make_trainer", lambda *a: made.append(make(*a)) or made[0]
    )
    plan = dataclasses.replace(PLAN, epochs=2, schedule="cosine")
    train(few_digits, run, plan)
    optimizer = made[0].optimizer
    assert optimizer.iterations == plan.steps(128) == 4
    last = 0.003 * (1 + np.cos(np.pi * 3 / 4)) / 2
    assert float(optimizer.learning_rate) == pytest.approx(last, rel=1e-5)


def test_a_loss_that_is_no_number_keeps_the_last_good_state(
    few_digits, run, undisturbed
):
    def poison(epoch, numbers, network):
        if epoch == 1:
            network.get_layer("logits").kernel.assign_add(np.full((12, 10), np.nan))

    with pytest.raises(DivergedError) as caught:
        train(few_digits, run, on_epoch=poison)
    assert str(caught.value) == (
        "the loss became nan at step 1 of epoch 3 (seed 5); the state after epoch 2 is "
        f"kept in {run.path / FOLDER}: lower the learning rate (now 0.003) or the "
        "penalties"
    )
    assert finished(run, FOLDER) is None
    assert_same(run, train(few_digits, run), undisturbed)


def test_a_huge_step_is_said_in_the_first_epoch(few_digits, run):
    plan = dataclasses.replace(PLAN, learning_rate=1e30)
    plain = {"batch_norm": False, "dropout": 0.0}
    with pytest.raises(DivergedError, match=r"step 2 of epoch 1 .*no epoch was"):
        train(few_digits, run, plan, lambda: make_network(**plain))
    assert not run.exists(f"{FOLDER}/state.npz")


def test_an_epoch_that_ends_in_ruins_is_not_kept(few_digits, run):
    plan = dataclasses.replace(PLAN, learning_rate=1e30, batch_size=500)
    plain = {"batch_norm": False, "dropout": 0.0}
    with pytest.raises(DivergedError, match="validation loss is no number after epoch"):
        train(few_digits, run, plan, lambda: make_network(**plain))
    assert not run.exists(FOLDER)


def test_streamed_data_diverge_alike(few_digits, run):
    plan = dataclasses.replace(PLAN, learning_rate=1e30)
    plain = {"batch_norm": False, "dropout": 0.0}
    with pytest.raises(DivergedError, match="of epoch 1"):
        train(Streamed(few_digits), run, plan, lambda: make_network(**plain))
