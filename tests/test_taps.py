"""Layers read before their activation."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from network_pruning.taps import call_tapped, check_layers, weighted_layers

layers = keras.layers


@pytest.fixture
def images():
    return np.random.default_rng(0).standard_normal((5, 8, 8, 3)).astype(np.float32)


@pytest.fixture
def network():
    x = inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, activation="relu", name="conv")(x)
    x = layers.SeparableConv2D(5, 3, activation="tanh", name="separable")(x)
    x = layers.Dropout(0.5, name="drop")(x)
    x = layers.Flatten()(x)
    inner_inputs = keras.Input((80,))
    inner = keras.Model(
        inner_inputs, layers.Dense(6, "sigmoid", name="dense")(inner_inputs), name="in"
    )
    return keras.Model(inputs, layers.Dense(2, name="logits")(inner(x)))


PATHS = ["conv", "separable", "in/dense", "logits"]


def test_weighted_layers_are_listed_by_path_in_graph_order(network):
    assert weighted_layers(network) == PATHS


def test_outputs_stay_and_taps_are_linear(network, images):
    outputs, taps = call_tapped(network, images, PATHS, training=False)
    np.testing.assert_array_equal(outputs, network(images, training=False))
    assert list(taps) == PATHS
    conv = network.get_layer("conv")
    linear = tf.nn.conv2d(images, conv.kernel, 1, "VALID") + conv.bias
    np.testing.assert_allclose(taps["conv"], linear, rtol=1e-5, atol=1e-5)
    assert float(tf.reduce_min(taps["conv"])) < 0
    np.testing.assert_array_equal(taps["logits"], outputs)


def test_activations_are_given_back_also_after_an_error(network):
    with pytest.raises(ValueError, match="incompatible"):
        call_tapped(network, np.zeros((1, 8, 8, 5), np.float32), ["conv"])
    assert network.get_layer("conv").activation is keras.activations.relu


def test_gradients_reach_the_weights_under_a_tap(network, images):
    @tf.function
    def gradients(x):
        with tf.GradientTape() as tape:
            _, taps = call_tapped(network, x, ["in/dense"], training=True)
            loss = tf.reduce_sum(taps["in/dense"] ** 2)
        return tape.gradient(loss, network.trainable_variables)

    found = gradients(images)
    assert [g is not None for g in found] == [True] * 7 + [False] * 2


def test_training_reaches_dropout(network, images):
    keras.utils.set_random_seed(1)
    rest, _ = call_tapped(network, images, ["logits"], training=False)
    moved, _ = call_tapped(network, images, ["logits"], training=True)
    assert not np.allclose(rest, moved)


def test_unknown_layers_are_answered_with_the_list(network):
    with pytest.raises(ValueError, match="'cnv'.*conv, separable.*mean 'conv'"):
        check_layers(network, ["cnv"])


def test_a_layer_stands_once(network):
    with pytest.raises(ValueError, match="each layer once"):
        check_layers(network, ["conv", "conv"])


def test_shared_layers_are_refused():
    shared = layers.Dense(3, name="shared")
    x = inputs = keras.Input((3,))
    model = keras.Model(inputs, shared(shared(x)))
    with pytest.raises(ValueError, match="'shared' is called 2 times"):
        check_layers(model, ["shared"])


def test_calls_can_be_intercepted(network, images):
    def intercept(call, args):
        seen.append(call.path)
        return args[0] * 0 if call.path == "drop" else None

    seen = []
    _, taps = call_tapped(network, images, ["in/dense"], False, intercept)
    bias = network.get_layer("in").get_layer("dense").bias
    np.testing.assert_array_equal(taps["in/dense"], np.tile(bias, (5, 1)))
    assert seen == ["conv", "separable", "drop", "flatten", "in/dense", "logits"]
