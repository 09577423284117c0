"""Training that stops and goes on, and what it leaves in its folder."""

import dataclasses
import json

import numpy as np
import pytest
import tf_keras as keras

import data as datasets
import models
from data.arrays import ArrayDataset
from network_pruning.evaluation import metrics
from network_pruning.evaluation.predict import predict_split
from network_pruning.jobs import fit as fit_module
from network_pruning.jobs.fit import FitPlan, fit
from network_pruning.jobs.trainings import FILES, best_epoch, finished
from network_pruning.runs import DamagedFile, RunDir
from network_pruning.training import DivergedError

FOLDER = "checkpoints/seed=0"
PLAN = FitPlan(epochs=3, batch_size=64, learning_rate=0.003, seed=5, jit=False)
SIZES = {"train": 128, "valid": 60, "test": 30}


@pytest.fixture(scope="module")
def digits():
    whole = datasets.load("uci_digits", image_size=(8, 8))
    parts = {
        split: (getattr(whole, f"x_{split}")[:n], getattr(whole, f"y_{split}")[:n])
        for split, n in SIZES.items()
    }
    return ArrayDataset("digits", parts, num_classes=10)


def make_network(**options):
    chosen = {"widths": (12,), "batch_norm": True, "dropout": 0.3, "l2": 1e-3}
    return models.build("mlp", (8, 8, 1), 10, **(chosen | options))


@pytest.fixture
def run(tmp_path):
    return RunDir(tmp_path / "run")


def train(digits, run, plan=PLAN, make=make_network, **options):
    return fit(make, digits, plan, run, FOLDER, **options)


@pytest.fixture(scope="module")
def undisturbed(digits, tmp_path_factory):
    run = RunDir(tmp_path_factory.mktemp("undisturbed"))
    return run, train(digits, run)


def assert_same(run, training, undisturbed):
    other_run, other = undisturbed
    assert training.history == other.history
    for which in FILES:
        weights = training.load(run, which).get_weights()
        expected = other.load(other_run, which).get_weights()
        for weight, value in zip(weights, expected, strict=True):
            np.testing.assert_array_equal(weight, value)


class Stopped(BaseException):
    """Stands for kill -9: nothing may catch it."""


def stop_at(monkeypatch, method, call):
    """Lets a method of RunDir work but for the given call, which ends the process."""
    works, calls = getattr(RunDir, method), []

    def count(self, *words):
        calls.append(words)
        if len(calls) == call:
            raise Stopped
        return works(self, *words)

    monkeypatch.setattr(RunDir, method, count)


def test_the_history_tells_what_happened(digits, undisturbed):
    run, training = undisturbed
    keys = {"loss", "cross_entropy", "accuracy"}
    assert len(training.history) == 3
    assert all(set(e) == keys | {f"val_{k}" for k in keys} for e in training.history)
    assert training.history[-1]["loss"] < training.history[0]["loss"]
    for which in FILES:
        numbers = training.history[training.chosen(which)]
        network = training.load(run, which)
        logits, labels = predict_split(network, digits, "valid")
        cross_entropy = metrics.cross_entropy(logits, labels)
        penalty = 1e-3 * (network.get_layer("hidden_1").kernel.numpy() ** 2).sum()
        assert numbers["val_cross_entropy"] == cross_entropy
        assert numbers["val_loss"] == pytest.approx(cross_entropy + penalty, rel=1e-6)
        assert numbers["val_accuracy"] == metrics.accuracy(logits, labels)


def test_a_finished_training_is_not_repeated(digits, undisturbed):
    run, training = undisturbed
    before = {path: path.stat().st_mtime_ns for path in run.path.rglob("*")}

    def never():
        raise AssertionError("a network was made")

    assert train(digits, run, make=never) == training
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
    digits, run, undisturbed, monkeypatch, method, call
):
    with monkeypatch.context() as patched:
        stop_at(patched, method, call)
        with pytest.raises(Stopped):
            train(digits, run)
    keras.backend.clear_session()
    keras.utils.set_random_seed(99)
    assert_same(run, train(digits, run), undisturbed)


def test_stopped_after_every_epoch_equals_undisturbed(digits, run, undisturbed):
    def stop(epoch, numbers, network):
        raise Stopped

    seen = []
    for _ in range(PLAN.epochs):
        with pytest.raises(Stopped):
            train(digits, run, on_epoch=stop)
        assert finished(run, FOLDER) is None
    training = train(digits, run, on_epoch=lambda *told: seen.append(told))
    assert seen == []
    assert_same(run, training, undisturbed)


def test_compiled_steps_resume_the_same(digits, run):
    plan = dataclasses.replace(PLAN, epochs=2, jit=None)

    def stop(epoch, numbers, network):
        raise Stopped

    def make():
        return make_network(batch_norm=False)

    with pytest.raises(Stopped):
        train(digits, run, plan, make, on_epoch=stop)
    resumed = train(digits, run, plan, make)
    other = RunDir(run.path / "other")
    assert_same(run, resumed, (other, train(digits, other, plan, make)))


def test_another_seed_is_another_training(digits, run, undisturbed):
    training = train(digits, run, dataclasses.replace(PLAN, seed=6, epochs=1))
    assert training.history[0]["loss"] != undisturbed[1].history[0]["loss"]


class Streamed:
    """The same data, not in memory."""

    in_memory = False

    def __init__(self, data):
        self.size, self.batches = data.size, data.batches


def test_streamed_data_train_the_same(digits, run):
    options = {"batch_norm": False, "dropout": 0.0}
    plan = dataclasses.replace(PLAN, epochs=2)
    other = RunDir(run.path / "streamed")
    resident = train(digits, run, plan, lambda: make_network(**options))
    streamed = train(Streamed(digits), other, plan, lambda: make_network(**options))
    for ours, theirs in zip(resident.history, streamed.history, strict=True):
        assert ours == pytest.approx(theirs, abs=1e-4)


@pytest.mark.slow
def test_streamed_data_resume_the_same(digits, run):
    plan, streamed = dataclasses.replace(PLAN, epochs=2), Streamed(digits)

    def stop(epoch, numbers, network):
        raise Stopped

    with pytest.raises(Stopped):
        train(streamed, run, plan, on_epoch=stop)
    resumed = train(streamed, run, plan)
    other = RunDir(run.path / "other")
    assert_same(run, resumed, (other, train(streamed, other, plan)))


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


def test_each_monitor_keeps_its_own_epoch(digits, run, monkeypatch):
    numbers = iter(history([2.0, 1.0, 3.0, 4.0], [0.9, 0.5, 0.6, 0.7]))
    monkeypatch.setattr(fit_module, "_validate", lambda *words: next(numbers))
    weights = []

    def keep(epoch, numbers, network):
        weights.append(network.get_weights()[0])

    plan = dataclasses.replace(PLAN, epochs=4)
    training = train(digits, run, plan, on_epoch=keep)
    for which, epoch in (("val_loss", 1), ("val_accuracy", 0), ("last", 3)):
        assert training.chosen(which) == epoch
        kernel = training.load(run, which).get_weights()[0]
        np.testing.assert_array_equal(kernel, weights[epoch])


def test_early_epochs_can_be_left_out(digits, run, monkeypatch):
    numbers = iter(history([1.0, 4.0, 3.0, 2.0], [0.9, 0.5, 0.6, 0.5]))
    monkeypatch.setattr(fit_module, "_validate", lambda *words: next(numbers))
    weights = []

    def keep(epoch, numbers, network):
        weights.append(network.get_weights()[0])

    plan = dataclasses.replace(PLAN, epochs=4, select_from=1)
    training = train(digits, run, plan, on_epoch=keep)
    for which, epoch in (("val_loss", 3), ("val_accuracy", 2)):
        assert training.chosen(which) == epoch
        kernel = training.load(run, which).get_weights()[0]
        np.testing.assert_array_equal(kernel, weights[epoch])
    assert finished(run, FOLDER) == training


def test_the_cosine_falls_to_zero(digits, run, monkeypatch):
    made = []
    make = fit_module._make_trainer
    monkeypatch.setattr(
        fit_module, "_make_trainer", lambda *a: made.append(make(*a)) or made[0]
    )
    plan = dataclasses.replace(PLAN, epochs=2, schedule="cosine")
    train(digits, run, plan)
    optimizer = made[0].optimizer
    assert optimizer.iterations == plan.steps(128) == 4
    last = 0.003 * (1 + np.cos(np.pi * 3 / 4)) / 2
    assert float(optimizer.learning_rate) == pytest.approx(last, rel=1e-5)


def test_a_loss_that_is_no_number_keeps_the_last_good_state(digits, run, undisturbed):
    def poison(epoch, numbers, network):
        if epoch == 1:
            network.get_layer("logits").kernel.assign_add(np.full((12, 10), np.nan))

    with pytest.raises(DivergedError) as caught:
        train(digits, run, on_epoch=poison)
    assert str(caught.value) == (
        "the loss became nan at step 1 of epoch 3 (seed 5); the state after epoch 2 is "
        f"kept in {run.path / FOLDER}: lower the learning rate (now 0.003) or the "
        "penalties"
    )
    assert finished(run, FOLDER) is None
    assert_same(run, train(digits, run), undisturbed)


def test_a_huge_step_is_said_in_the_first_epoch(digits, run):
    plan = dataclasses.replace(PLAN, learning_rate=1e30)
    plain = {"batch_norm": False, "dropout": 0.0}
    with pytest.raises(DivergedError, match=r"step 2 of epoch 1 .*no epoch was"):
        train(digits, run, plan, lambda: make_network(**plain))
    assert not run.exists(f"{FOLDER}/state.npz")


def test_an_epoch_that_ends_in_ruins_is_not_kept(digits, run):
    plan = dataclasses.replace(PLAN, learning_rate=1e30, batch_size=500)
    plain = {"batch_norm": False, "dropout": 0.0}
    with pytest.raises(DivergedError, match="validation loss is no number after epoch"):
        train(digits, run, plan, lambda: make_network(**plain))
    assert not run.exists(FOLDER)


def test_streamed_data_diverge_alike(digits, run):
    plan = dataclasses.replace(PLAN, learning_rate=1e30)
    plain = {"batch_norm": False, "dropout": 0.0}
    with pytest.raises(DivergedError, match="of epoch 1"):
        train(Streamed(digits), run, plan, lambda: make_network(**plain))


@pytest.fixture
def stopped(digits, run):
    """A run that stopped after its first epoch."""

    def stop(epoch, numbers, network):
        raise Stopped

    with pytest.raises(Stopped):
        train(digits, run, on_epoch=stop, identity="mine")
    return run


def contents(run):
    return {p: p.read_bytes() for p in run.path.rglob("*") if p.is_file()}


def test_a_damaged_state_is_said_and_not_trained_over(digits, stopped):
    path = stopped.path / FOLDER / "state.npz"
    good = path.read_bytes()
    altered = bytearray(good)
    altered[len(good) // 3] ^= 1
    for damage in (good[: len(good) // 2], good[:-1], b"", bytes(altered)):
        path.write_bytes(damage)
        before = contents(stopped)
        with pytest.raises(DamagedFile, match=r"state\.npz is damaged") as caught:
            train(digits, stopped, identity="mine")
        assert "\n" not in str(caught.value)
        assert contents(stopped) == before


def test_a_state_of_something_else_is_said(digits, stopped):
    before = contents(stopped)
    with pytest.raises(ValueError, match="of other settings or data"):
        train(digits, stopped, identity="other")
    with pytest.raises(ValueError, match=r"another network's training \(at .*delete"):
        train(digits, stopped, make=lambda: make_network(widths=(13,)), identity="mine")
    assert contents(stopped) == before


@pytest.fixture
def complete(undisturbed, tmp_path):
    """A copy of the finished run, to be damaged."""
    run = RunDir(tmp_path / "complete")
    run.adopt(undisturbed[0].path / FOLDER, FOLDER)
    return run


def test_a_finished_training_of_something_else_is_said(digits, complete):
    with pytest.raises(ValueError, match="of other settings or data") as caught:
        train(digits, complete, identity="other")
    assert "--force_train" in str(caught.value)


@pytest.mark.parametrize("which", FILES)
def test_a_damaged_network_is_said_and_not_trained_again(digits, complete, which):
    path = complete.path / FOLDER / f"{which}.keras"
    good = path.read_bytes()
    altered = bytearray(good)
    altered[len(good) // 2] ^= 1
    for damage in (bytes(altered), good[:-5], None):
        path.unlink() if damage is None else path.write_bytes(damage)
        before = contents(complete)
        training = train(digits, complete)
        with pytest.raises(DamagedFile, match=f"{which}.keras is damaged") as caught:
            training.load(complete, which)
        assert "train again with --force_train" in str(caught.value)
        assert contents(complete) == before
        path.write_bytes(good)
    training.load(complete, which)


def change(**fields):
    return lambda record: record | fields


def without(name):
    return lambda record: {key: value for key, value in record.items() if key != name}


@pytest.mark.parametrize(
    "damage",
    [
        lambda record: [],
        lambda record: {},
        lambda record: record | {"more": 1},
        without("history"),
        without("digests"),
        without("folder"),
        change(history=[]),
        change(history="text"),
        change(history=[{}]),
        change(history=[{"val_loss": 1.0}]),
        change(history=[{"val_loss": "a", "val_accuracy": "b"}]),
        change(history=None),
        change(digests={}),
        change(digests={"val_loss": "0"}),
        change(digests=None),
        change(folder="checkpoints/seed=1"),
        change(select_from="x"),
    ],
)
def test_a_record_that_is_json_and_wrong_is_said(digits, complete, damage):
    path = complete.path / FOLDER / "training.json"
    path.write_text(json.dumps(damage(json.loads(path.read_text()))))
    before = contents(complete)
    with pytest.raises(DamagedFile, match=r"training\.json is damaged") as caught:
        train(digits, complete)
    assert "\n" not in str(caught.value)
    assert contents(complete) == before


def test_a_truncated_record_is_said(digits, complete):
    path = complete.path / FOLDER / "training.json"
    path.write_text(path.read_text()[:-20])
    with pytest.raises(DamagedFile, match=r"training\.json is damaged"):
        train(digits, complete)


def test_a_network_damaged_before_the_end_is_found_out(digits, stopped):
    path = stopped.path / FOLDER / "val_loss.keras"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    plan = dataclasses.replace(PLAN, epochs=1)
    training = train(digits, stopped, plan, identity="mine")
    with pytest.raises(DamagedFile, match=r"val_loss\.keras is damaged"):
        training.load(stopped, "val_loss")
