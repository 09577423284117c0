"""The training step and its loop, against a slow twin."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

import models
from network_pruning.replicas import share_of_mean, share_of_sum
from network_pruning.resident import ResidentLoop
from network_pruning.training import (
    DivergedError,
    Trainer,
    check_finite,
    is_dense,
    reseed,
)
from tests import cases

EXAMPLES, BATCH, STEPS = 23, 8, 3
RATE = 0.01


def make_network(penalty=True):
    layers = keras.layers
    regularizer = keras.regularizers.L1L2(0.01, 0.02) if penalty else None
    x = inputs = keras.Input((3, 2, 1))
    x = layers.Flatten()(x)
    x = layers.Dense(7, "relu", kernel_regularizer=regularizer, name="hidden")(x)
    return keras.Model(inputs, layers.Dense(4, name="logits")(x))


@pytest.fixture
def images():
    return np.random.default_rng(0).random((EXAMPLES, 3, 2, 1), np.float32)


@pytest.fixture
def labels():
    return np.random.default_rng(1).integers(0, 4, EXAMPLES)


@pytest.fixture
def order():
    return np.random.default_rng(2).permutation(EXAMPLES)


def make_trainer(network, after_update=None):
    trainer = Trainer(network, after_update)
    trainer.compile(optimizer=keras.optimizers.Adam(RATE))
    return trainer


class SlowAdam:
    """D. Kingma, J. Ba, Adam (2015), algorithm 1, as Keras places epsilon."""

    def __init__(self):
        self.step, self.m, self.v = 0, {}, {}

    def update(self, weights, gradients):
        self.step += 1
        rate = RATE * np.sqrt(1 - 0.999**self.step) / (1 - 0.9**self.step)
        for i, (weight, gradient) in enumerate(zip(weights, gradients, strict=True)):
            g = np.asarray(gradient, np.float64)
            self.m[i] = 0.9 * self.m.get(i, 0) + 0.1 * g
            self.v[i] = 0.999 * self.v.get(i, 0) + 0.001 * g**2
            move = rate * self.m[i] / (np.sqrt(self.v[i]) + 1e-7)
            weight.assign(weight.numpy() - move)


def slow_penalty(network):
    kernel = network.get_layer("hidden").kernel
    return 0.01 * tf.reduce_sum(abs(kernel)) + 0.02 * tf.reduce_sum(kernel**2)


def slow_epoch(network, images, labels, order, adam):
    """One example's softmax after the other; returns the means over the epoch."""
    sums = {"loss": 0.0, "cross_entropy": 0.0, "accuracy": 0.0}
    for start in range(0, len(order), BATCH):
        rows = order[start : start + BATCH]
        with tf.GradientTape() as tape:
            logits = network(images[rows], training=True)
            each = [
                tf.reduce_logsumexp(z) - z[label]
                for z, label in zip(logits, labels[rows], strict=True)
            ]
            penalty = slow_penalty(network) if network.losses else 0.0
            loss = sum(each) / len(rows) + penalty
        adam.update(
            network.trainable_weights, tape.gradient(loss, network.trainable_weights)
        )
        right = np.argmax(logits, axis=1) == labels[rows]
        sums["loss"] += float(loss) * len(rows)
        sums["cross_entropy"] += float(sum(each))
        sums["accuracy"] += right.sum()
    return {name: value / len(order) for name, value in sums.items()}


def assert_same_weights(network, twin, atol=1e-5):
    for weight, expected in zip(network.weights, twin.weights, strict=True):
        np.testing.assert_allclose(weight, expected, rtol=0, atol=atol)


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("penalty", [False, True])
def test_the_loop_equals_its_slow_twin(images, labels, order, jit, penalty):
    network, twin = make_network(penalty), make_network(penalty)
    twin.set_weights(network.get_weights())
    loop = ResidentLoop(make_trainer(network), images, labels, BATCH, jit)
    adam = SlowAdam()
    for shuffled in (order, order[::-1]):
        means = loop.epoch(shuffled)
        expected = slow_epoch(twin, images, labels, shuffled, adam)
        assert means == pytest.approx(expected, abs=1e-5)
        assert_same_weights(network, twin)
    assert loop.trainer.optimizer.iterations == 2 * STEPS
    assert (means["loss"] > means["cross_entropy"] + 0.01) == penalty


def test_fewer_examples_than_a_batch(images, labels):
    network, twin = make_network(), make_network()
    twin.set_weights(network.get_weights())
    loop = ResidentLoop(make_trainer(network), images[:5], labels[:5], BATCH, True)
    slow_epoch(twin, images[:5], labels[:5], np.arange(5), SlowAdam())
    loop.epoch(np.arange(5))
    assert_same_weights(network, twin)


def test_plain_fit_and_evaluate_do_the_same(images, labels):
    network, twin = make_network(), make_network()
    twin.set_weights(network.get_weights())
    trainer = make_trainer(network)
    options = {"batch_size": BATCH, "verbose": 0}
    fitted = trainer.fit(images, labels, shuffle=False, **options)
    loop = ResidentLoop(make_trainer(twin), images, labels, BATCH, True)
    means = loop.epoch(np.arange(EXAMPLES))
    assert {k: v[0] for k, v in fitted.history.items()} == pytest.approx(means, 1e-5)
    assert_same_weights(network, twin)
    before = network.get_weights()
    logits = network.predict(images, verbose=0).astype(np.float64)
    log_sums = np.log(np.exp(logits).sum(axis=1))
    expected = np.mean(log_sums - logits[np.arange(EXAMPLES), labels])
    found = trainer.evaluate(images, labels, return_dict=True, **options)
    assert found["cross_entropy"] == pytest.approx(expected, rel=1e-5)
    penalty = float(sum(network.losses))
    assert found["loss"] == pytest.approx(expected + penalty, rel=1e-5)
    assert found["accuracy"] == pytest.approx(np.mean(logits.argmax(1) == labels))
    for weight, kept in zip(network.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, kept)


def test_after_update_acts_within_each_step(images, labels, order):
    mask = np.random.default_rng(3).random((6, 7)) < 0.5

    def hold(network):
        kernel = network.get_layer("hidden").kernel
        kernel.assign(kernel * tf.cast(mask, tf.float32))

    network = make_network()
    trainer = make_trainer(network, hold)
    ResidentLoop(trainer, images, labels, BATCH, True).epoch(order)
    kernel = network.get_layer("hidden").kernel.numpy()
    np.testing.assert_array_equal(kernel != 0, mask)


class Occupied(keras.Model):
    """Penalises its hidden layer and counts how often it was asked to."""

    def __init__(self, network):
        super().__init__()
        self.network = network
        self.occupancy = keras.metrics.Mean("occupancy")
        self.seen = self.add_weight("seen", (), None, "zeros", trainable=False)

    def call(self, inputs, training=None):
        if training:
            self.add_loss(
                0.5 * tf.reduce_sum(self.network.get_layer("hidden").bias ** 2)
            )
            self.seen.assign_add(1.0)
            self.occupancy.update_state(self.seen)
        return self.network(inputs, training=training)


def test_a_network_with_penalties_and_metrics_of_its_own(images, labels, order):
    network = Occupied(make_network(penalty=False))
    bias = network.network.get_layer("hidden").bias
    bias.assign_add(tf.ones_like(bias))
    network.compile("sgd", "mse", metrics=["mae"])
    trainer = make_trainer(network)
    loop = ResidentLoop(trainer, images, labels, BATCH, True)
    first, second = loop.epoch(order), loop.epoch(order)
    assert list(first) == ["loss", "cross_entropy", "accuracy", "occupancy"]
    assert first["occupancy"] == np.mean(range(1, STEPS + 1))
    assert second["occupancy"] == np.mean(range(STEPS + 1, 2 * STEPS + 1))
    assert first["loss"] - first["cross_entropy"] == pytest.approx(3.5, rel=0.05)
    assert any(variable is network.seen for variable in trainer.state)
    again = trainer.fit(images, labels, batch_size=BATCH, verbose=0)
    assert again.history["occupancy"] == [np.mean(range(7, 10))]


class Echo(Trainer):
    """Learns to repeat targets, with a weight of its own."""

    TOLD = ("loss", "distance")

    def __init__(self, network, after_update=None, l2_decay=0.0):
        super().__init__(network, after_update, l2_decay)
        self.offset = self.add_weight("offset", (4,), initializer="zeros")

    @property
    def state(self):
        return [*super().state, self.offset]

    def train_step(self, data):
        images, _, targets = data

        def judge():
            gap = self.call(images, training=True) + self.offset - targets
            distance = tf.reduce_sum(gap**2, axis=1)
            return distance, {"distance": distance}

        return self.learn(judge)


def test_a_trainer_of_another_kind_with_targets(images, labels, order):
    targets = np.random.default_rng(4).normal(size=(EXAMPLES, 4)).astype(np.float32)
    network, twin = make_network(), make_network()
    twin.set_weights(network.get_weights())
    trainer = Echo(network, l2_decay=0.1)
    trainer.compile(optimizer=keras.optimizers.Adam(RATE))
    loop = ResidentLoop(trainer, images, labels, BATCH, True, targets=targets)
    means = loop.epoch(order)
    adam, offset, sums = SlowAdam(), tf.Variable(tf.zeros(4)), 0.0
    for start in range(0, EXAMPLES, BATCH):
        rows = order[start : start + BATCH]
        with tf.GradientTape() as tape:
            gaps = twin(images[rows]) + offset - targets[rows]
            distance = tf.reduce_sum(gaps**2) / len(rows)
            kernels = [layer.kernel for layer in twin.layers[2:]]
            decay = sum(0.05 * tf.reduce_sum(kernel**2) for kernel in kernels)
            loss = distance + slow_penalty(twin) + decay
        weights = [*twin.trainable_weights, offset]
        adam.update(weights, tape.gradient(loss, weights))
        sums += float(distance) * len(rows)
    assert list(means) == ["loss", "distance"]
    assert means["distance"] == pytest.approx(sums / EXAMPLES, rel=1e-4)
    assert_same_weights(network, twin)
    np.testing.assert_allclose(trainer.offset, offset, atol=1e-5)
    assert np.abs(offset).max() > 0.01


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision(images, labels, policy):
    with cases.precision(policy):
        trainer = Trainer(make_network())
        trainer.compile(optimizer=keras.optimizers.Adam(RATE))
        before = float(trainer.evaluate(images, labels, verbose=0)[0])
        fitted = trainer.fit(images, labels, batch_size=BATCH, epochs=20, verbose=0)
    assert trainer.network.compute_dtype == policy.removeprefix("mixed_")
    assert fitted.history["loss"][-1] < before - 0.05


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("bad", [1, 2, 3])
def test_a_loss_that_is_no_number_ends_the_epoch(images, labels, jit, bad):
    images[(bad - 1) * BATCH] = np.nan
    # With biases, TensorFlow's fused MatMul + BiasAdd + Relu turns NaN into 0.
    trainer = make_trainer(models.build("mlp", (3, 2, 1), 4, widths=(7,)))
    loop = ResidentLoop(trainer, images, labels, BATCH, jit)
    with pytest.raises(DivergedError, match=f"became nan at step {bad} of epoch"):
        loop.epoch(np.arange(EXAMPLES))
    assert trainer.optimizer.iterations == bad


def test_check_finite():
    check_finite(1e30, 1)
    with pytest.raises(DivergedError, match="inf at step 7"):
        check_finite(float("inf"), 7)


def test_shares_without_a_strategy_are_the_whole():
    assert share_of_mean(tf.constant([1.0, 2.0, 6.0])) == 3.0
    assert share_of_sum([tf.constant(1.0), tf.constant(2.5)]) == 3.5
    assert share_of_sum([]) == 0.0


def noisy():
    keras.backend.experimental.enable_tf_random_generator()
    inputs = keras.Input((64,))
    parts = [keras.layers.Dropout(0.5)(inputs), keras.layers.Dropout(0.5)(inputs)]
    return keras.Model(inputs, parts)


def test_reseed_repeats_dropout():
    network, ones = noisy(), np.ones((4, 64), np.float32)

    def draw(*seed):
        reseed(network, *seed)
        first = [part.numpy() for part in network(ones, training=True)]
        second = [part.numpy() for part in network(ones, training=True)]
        return np.array([first, second])

    drawn = draw(0, 1)
    np.testing.assert_array_equal(drawn, draw(0, 1))
    for other in ((0, 2), (1, 1), (1, 0)):
        assert (drawn != draw(*other)).any()
    assert (drawn[0, 0] != drawn[0, 1]).any(), "two layers draw the same"
    assert (drawn[0] != drawn[1]).any(), "two steps draw the same"


def test_reseed_reaches_a_traced_step():
    network, ones = noisy(), np.ones((4, 64), np.float32)
    traced = tf.function(lambda: network(ones, training=True)[0], jit_compile=True)
    reseed(network, 3)
    first = traced().numpy()
    assert (traced().numpy() != first).any()
    reseed(network, 3)
    np.testing.assert_array_equal(traced(), first)


def test_is_dense_looks_into_nested_models():
    assert is_dense(make_network())
    inner = keras.Sequential([keras.layers.Conv2D(2, 2, input_shape=(3, 2, 1))])
    outer = keras.Sequential([inner, keras.layers.Flatten(), keras.layers.Dense(2)])
    assert not is_dense(outer)
    assert not is_dense(keras.Sequential([keras.layers.LSTM(2, input_shape=(3, 2))]))
