"""Trainings by SGD, schedules, augmentation and patience, stopped and resumed."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from network_pruning.evaluation import metrics
from network_pruning.evaluation.predict import predict_logits, predict_split
from network_pruning.jobs import fit as fit_module
from network_pruning.jobs.plans import FitPlan
from network_pruning.jobs.trainings import FILES, finished
from network_pruning.runs import RunDir
from network_pruning.training import Trainer
from network_pruning.views import rescaled, without_test
from tests import cases
from tests.jobs.fitting import (
    FOLDER,
    PLAN,
    Stopped,
    make_network,
    stop,
    stopping,
    train,
)
from tests.jobs.test_fit import assert_same
from tests.streamed import Streamed

RECIPE = FitPlan(
    epochs=6,
    batch_size=50,
    learning_rate=0.05,
    seed=3,
    schedule="step",
    milestones=(0.5,),
    warmup_epochs=1,
    optimizer="sgd",
    nesterov=True,
    weight_decay=1e-3,
    augment="flip_shift",
    erase=2,
    shift=1,
    early_stopping=2,
    jit=False,
)


def make_conv():
    layers = keras.layers
    x = inputs = keras.Input((8, 8, 1), name="images")
    x = layers.Conv2D(4, 3, activation="relu", name="conv_1")(x)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.MaxPooling2D(name="pool")(x)
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dropout(0.1, name="dropout")(x)
    return keras.Model(inputs, layers.Dense(10, name="logits")(x), name="lenet")


def losses(monkeypatch, values):
    """Lets validation say these losses, one an epoch."""
    left = list(values)

    def validate(network, data):
        loss = left.pop(0)
        return dict(val_loss=loss, val_cross_entropy=loss, val_accuracy=1 - loss / 10)

    monkeypatch.setattr(fit_module, "_validate", validate)


@pytest.mark.slow
def test_a_recipe_stopped_after_every_epoch_equals_undisturbed(few_digits, run):
    plan = dataclasses.replace(RECIPE, epochs=3)
    other = RunDir(run.path / "other")
    whole = train(few_digits, other, plan, make_conv)
    for _ in whole.history:
        with stopping():
            train(few_digits, run, plan, make_conv)
    keras.utils.set_random_seed(99)
    assert_same(run, train(few_digits, run, plan, make_conv), (other, whole))


def test_a_network_in_float16_is_trained_with_a_loss_scale(few_digits, run):
    def make():
        with cases.precision("mixed_float16"):
            return make_conv()

    other = RunDir(run.path / "other")
    plan = dataclasses.replace(RECIPE, epochs=2)
    whole = train(few_digits, other, plan, make)
    assert whole.history[-1]["loss"] < whole.history[0]["loss"]
    with stopping():
        train(few_digits, run, plan, make)
    # Three steps: the scale has fallen at most so often, or was kept as often.
    arrays = run.read_arrays(f"{FOLDER}/state.npz")
    count = sum(name.startswith("variable_") for name in arrays)
    assert arrays[f"variable_{count - 2}"] in 2.0 ** np.arange(12, 16)
    assert arrays[f"variable_{count - 1}"] <= 3
    assert_same(run, train(few_digits, run, plan, make), (other, whole))


def test_streamed_images_are_augmented_alike(few_digits, run):
    plan = dataclasses.replace(RECIPE, epochs=2, batch_size=60)
    other = RunDir(run.path / "streamed")
    options = {"batch_norm": False, "dropout": 0.0}
    resident = train(few_digits, run, plan, lambda: make_network(**options))
    streamed = train(Streamed(few_digits), other, plan, lambda: make_network(**options))
    for ours, theirs in zip(resident.history, streamed.history, strict=True):
        assert ours == pytest.approx(theirs, abs=1e-4)
    for name, without in (("moved", {"erase": 0}), ("erased", {"augment": "none"})):
        less = dataclasses.replace(plan, **without)
        third = RunDir(run.path / name)
        trained = train(few_digits, third, less, lambda: make_network(**options))
        assert trained.history[0]["loss"] != resident.history[0]["loss"]


def test_a_square_as_large_as_the_images_is_refused(few_digits, run):
    with pytest.raises(ValueError, match="erase: got 8, expected less than the 8"):
        train(few_digits, run, dataclasses.replace(PLAN, erase=8))


def test_patience_ends_a_training_and_the_best_epoch_stays(
    few_digits, run, monkeypatch
):
    losses(monkeypatch, [3.0, 1.0, 2.0, 1.0])
    kernels = []

    def keep(epoch, numbers, network):
        kernels.append(network.get_weights()[0])

    plan = dataclasses.replace(PLAN, epochs=9, early_stopping=2)
    training = train(few_digits, run, plan, on_epoch=keep)
    assert (len(training.history), training.epochs) == (4, 4)
    assert finished(run, FOLDER) == training
    for which, epoch in (("val_loss", 1), ("val_accuracy", 1), ("last", 3)):
        assert training.chosen(which) == epoch
        kernel = training.load(run, which).get_weights()[0]
        np.testing.assert_array_equal(kernel, kernels[epoch])


@pytest.mark.parametrize("method", ["write_json", "remove"])
def test_a_stop_at_the_end_of_patience_is_resumed(few_digits, run, monkeypatch, method):
    losses(monkeypatch, [1.0, 2.0])
    plan = dataclasses.replace(PLAN, epochs=9, early_stopping=1)
    with monkeypatch.context() as patched:
        patched.setattr(RunDir, method, stop)
        with pytest.raises(Stopped):
            train(few_digits, run, plan)
    assert train(few_digits, run, plan).epochs == 2


def test_patience_looks_at_its_own_monitor_and_not_before_its_start():
    def history(*values):
        return [{"val_loss": v, "val_accuracy": v} for v in values]

    plan = dataclasses.replace(PLAN, early_stopping=2)
    assert not plan.is_over([])
    assert not plan.is_over(history(1, 2))
    assert plan.is_over(history(1, 2, 3))
    rising = dataclasses.replace(plan, monitor="val_accuracy")
    assert not rising.is_over(history(1, 2, 3))
    late = dataclasses.replace(plan, select_from=3)
    assert not late.is_over(history(1, 2, 3, 4, 5))
    assert late.is_over(history(1, 2, 3, 4, 5, 6))
    assert not PLAN.is_over(history(1, 2, 3, 4, 5, 6))


def test_no_epoch_takes_the_network_as_it_is(few_digits, run):
    network = make_conv()
    plan = dataclasses.replace(PLAN, epochs=0)
    training = train(few_digits, run, plan, lambda: network)
    assert (len(training.history), training.epochs) == (1, 0)
    for which in FILES:
        loaded = training.load(run, which).get_weights()
        for weight, expected in zip(loaded, network.get_weights(), strict=True):
            np.testing.assert_array_equal(weight, expected)
    logits, labels = predict_split(network, few_digits, "train")
    assert training.history[0]["accuracy"] == metrics.accuracy(logits, labels)
    assert finished(run, FOLDER) == training


def test_no_epoch_of_a_network_in_ruins_is_said(few_digits, run):
    network = make_conv()
    network.get_layer("logits").bias.assign(np.full(10, np.nan))
    with pytest.raises(ValueError, match="outputs that are no numbers"):
        train(few_digits, run, dataclasses.replace(PLAN, epochs=0), lambda: network)


def test_a_small_convolutional_network_learns(few_digits, run):
    plan = FitPlan(epochs=15, batch_size=32, learning_rate=0.01, seed=0)
    training = train(few_digits, run, plan, make_conv)
    assert training.history[-1]["accuracy"] > 0.9


def twins():
    """A network that ends in a softmax, and the same one without it."""
    logits = make_conv()
    inputs = keras.Input((8, 8, 1))
    x = inputs
    for layer in logits.layers[1:-1]:
        x = type(layer).from_config(layer.get_config())(x)
    x = keras.layers.Dense(10, "softmax", name="probabilities")(x)
    softmax = keras.Model(inputs, x)
    softmax.set_weights(logits.get_weights())
    return softmax, logits


def test_a_softmax_at_the_end_is_not_applied_twice(few_digits):
    softmax, logits = twins()
    images, labels = few_digits.x_valid, few_digits.y_valid
    found = predict_logits(softmax, images)
    expected = predict_logits(logits, images)
    for measure in (metrics.cross_entropy, metrics.ece, metrics.brier):
        theirs = measure(expected, labels)
        assert measure(found, labels) == pytest.approx(theirs, abs=1e-5)
    told, moved = [], []
    for network in (softmax, logits):
        keras.backend.experimental.enable_tf_random_generator()
        network.get_layer("dropout").rate = 0.0
        trainer = Trainer(network)
        trainer.compile(optimizer=keras.optimizers.SGD(0.1))
        batch = tf.constant(images), tf.constant(labels)
        told.append(trainer.train_step(batch))
        assert float(trainer.test_step(batch)["loss"]) > 0
        moved.append(network.get_weights())
    assert float(told[0]["loss"]) == pytest.approx(float(told[1]["loss"]), abs=1e-5)
    for ours, theirs in zip(*moved, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_pixels_of_another_range(few_digits):
    view = rescaled(few_digits, -1.0, 1.0)
    np.testing.assert_allclose(view.x_train, few_digits.x_train * 2 - 1, atol=1e-6)
    assert (view.name, view.size("train")) == (few_digits.name, 128)

    def double(images, pair):
        return images * 2

    for augment, factor in ((None, 1), (double, 2)):
        images, labels = next(iter(view.batches("train", 9, augment=augment)))
        np.testing.assert_allclose(images, factor * view.x_train[:9], atol=1e-6)
        np.testing.assert_array_equal(labels, few_digits.y_train[:9])
    assert rescaled(few_digits, 0.0, 1.0) is few_digits


def test_the_test_split_is_out_of_sight(few_digits):
    view = without_test(few_digits)
    np.testing.assert_array_equal(view.x_valid, few_digits.x_valid)
    assert view.size("valid") == 60
    for look in (
        lambda: view.x_test,
        lambda: view.size("test"),
        lambda: view.batches("test", 3),
    ):
        with pytest.raises(AttributeError, match="pruned by train and valid alone"):
            look()
    assert len(list(view.batches("valid", 60))) == 1
