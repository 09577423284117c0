"""Learning rates by step, and what decays."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from network_pruning import optimizers
from network_pruning.optimizers import adam, decaying, make_rate
from network_pruning.training import Trainer
from tests import cases

RATE, DECAY = 0.1, 0.5


def make_network():
    layers = keras.layers
    x = inputs = keras.Input((4, 4, 2))
    x = layers.Conv2D(3, 2, name="conv")(x)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.PReLU(name="prelu", shared_axes=[1, 2])(x)
    x = layers.DepthwiseConv2D(2, name="depthwise")(x)
    x = layers.Flatten()(x)
    return keras.Model(inputs, layers.Dense(3, name="logits")(x))


def rates(rate, steps):
    return [float(rate(step)) if callable(rate) else rate for step in range(steps)]


def test_a_constant_is_a_number():
    assert make_rate("constant", 0.1, 5, 3) == 0.1


def test_steps_fall_after_their_epochs():
    by_share = make_rate("step", 1.0, 4, 3, (0.5, 0.75), 0.1)
    by_epoch = make_rate("step", 1.0, 4, 3, (3, 2), 0.1)
    expected = [1.0] * 6 + [0.1] * 3 + [0.01] * 3
    assert rates(by_share, 12) == pytest.approx(expected)
    assert rates(by_epoch, 12) == pytest.approx(expected)
    assert rates(make_rate("step", 1.0, 2, 2, (1,), 0.2), 4) == pytest.approx([
        1,
        1,
        0.2,
        0.2,
    ])


def test_the_cosine_and_the_warmup():
    steps = np.arange(8)
    cosine = (1 + np.cos(np.pi * steps / 8)) / 2
    assert rates(make_rate("cosine", 1.0, 4, 2), 8) == pytest.approx(cosine, abs=1e-6)
    line = np.minimum((steps + 1) / 4, 1)
    warm = make_rate("cosine", 1.0, 4, 2, warmup=2)
    assert rates(warm, 8) == pytest.approx(cosine * line, abs=1e-6)
    warm = make_rate("constant", 2.0, 4, 2, warmup=2)
    assert rates(warm, 8) == pytest.approx(2 * line, abs=1e-6)


def test_kernels_alone_decay():
    names = {weight.name for weight in decaying(make_network())}
    assert names == {
        "conv/kernel:0",
        "depthwise/depthwise_kernel:0",
        "logits/kernel:0",
    }


def step(network, optimizer, l2_decay=0.0):
    """Takes one step on images whose gradient is nothing."""
    trainer = Trainer(network, l2_decay=l2_decay)
    trainer.compile(optimizer=optimizer)
    before = [weight.numpy() for weight in network.trainable_weights]
    zero = [tf.zeros_like(weight) for weight in network.trainable_weights]
    optimizer.build(network.trainable_weights)
    if l2_decay:
        with tf.GradientTape() as tape:
            loss = tf.add_n(trainer._decay())
        found = tape.gradient(loss, network.trainable_weights)
        zero = [z if g is None else g for z, g in zip(zero, found, strict=True)]
    optimizer.apply_gradients(zip(zero, network.trainable_weights, strict=True))
    return before


@pytest.mark.parametrize("name", ["adam", "sgd"])
def test_decay_shrinks_kernels_and_leaves_the_rest(name):
    network = make_network()
    for weight in network.trainable_weights:
        weight.assign(tf.random.normal(weight.shape))
    if name == "adam":
        before = step(network, adam(network, RATE, DECAY))
    else:
        before = step(network, keras.optimizers.SGD(RATE), DECAY)
    kernels = {id(weight) for weight in decaying(network)}
    for weight, old in zip(network.trainable_weights, before, strict=True):
        share = 1 - RATE * DECAY if id(weight) in kernels else 1
        np.testing.assert_allclose(weight, share * old, rtol=1e-6)


def test_the_decay_of_sgd_is_in_its_step_and_not_in_its_loss():
    images = np.random.default_rng(0).random((8, 4, 4, 2), np.float32)
    labels = np.arange(8) % 3
    network = make_network()
    start = network.get_weights()
    told, moved = [], []
    for decay in (0.0, DECAY):
        network.set_weights(start)
        trainer = Trainer(network, l2_decay=decay)
        trainer.compile(optimizer=keras.optimizers.SGD(RATE))
        told.append(trainer.train_step((tf.constant(images), tf.constant(labels))))
        moved.append(network.get_layer("logits").kernel.numpy())
    assert float(told[0]["loss"]) == float(told[1]["loss"])
    kernel = [
        w for w, v in zip(start, network.weights, strict=True) if "logits/k" in v.name
    ]
    np.testing.assert_allclose(moved[1], moved[0] - RATE * DECAY * kernel[0], atol=1e-6)


def test_only_float16_needs_a_loss_scale():
    for policy in ("float32", "mixed_bfloat16"):
        with cases.precision(policy):
            network = make_network()
        optimizer = keras.optimizers.SGD()
        assert optimizers.scaled(optimizer, network) is optimizer
        assert optimizers.variables(optimizer) == list(optimizer.variables)
    with cases.precision("mixed_float16"):
        nested = keras.Sequential([keras.Input((4, 4, 2)), make_network()])
    scaled = optimizers.scaled(keras.optimizers.Adam(), nested)
    scaled.build(nested.trainable_variables)
    *inner, scale, counter = optimizers.variables(scaled)
    assert len(inner) == len(scaled.inner_optimizer.variables)
    assert (scale.numpy(), counter.numpy()) == (2.0**15, 0)
    # Of a gradient that is no number nothing is left but a smaller scale.
    kernel = nested.trainable_variables[0]
    before = kernel.numpy()
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(kernel) * np.inf
    scaled.minimize(loss, [kernel], tape)
    np.testing.assert_array_equal(kernel, before)
    assert scale.numpy() == 2.0**14
