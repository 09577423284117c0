"""Group lasso: norms, penalty and proximal step against loops; cuts of dead units."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

import network_pruning as npr
from network_pruning.pruning.group_lasso import GroupLasso


def network():
    """Returns a convolution and a dense layer before the outputs, weights random."""
    x = inputs = keras.Input((5, 5, 1))
    x = keras.layers.Conv2D(4, 2, activation="relu", name="conv")(x)
    x = keras.layers.Dense(6, "relu", name="hidden")(keras.layers.Flatten()(x))
    model = keras.Model(inputs, keras.layers.Dense(3, name="logits")(x))
    generator = np.random.default_rng(0)
    for weight in model.weights:
        weight.assign(generator.normal(size=weight.shape))
    return model


def slow_norms(model):
    """Returns the norm of each unit, one after the other."""
    found = {}
    for name in ("conv", "hidden"):
        kernel, bias = model.get_layer(name).get_weights()
        found[name] = [
            np.sqrt(np.sum(kernel[..., unit] ** 2) + bias[unit] ** 2)
            for unit in range(len(bias))
        ]
    return found


def test_norms_and_penalty_are_those_of_units_and_never_of_outputs():
    model = network()
    lasso = GroupLasso(model, 0.5)
    norms = {name: value.numpy() for name, value in lasso.norms().items()}
    expected = slow_norms(model)
    assert set(norms) == {"conv", "hidden"}
    for name, values in expected.items():
        np.testing.assert_allclose(norms[name], values, rtol=1e-5)
    whole = 0.5 * sum(map(sum, expected.values()))
    assert float(lasso.penalty()) == pytest.approx(whole, rel=1e-5)


def test_the_gradient_is_the_direction_of_each_unit_and_finite_at_zero():
    model = network()
    layer = model.get_layer("hidden")
    kernel, bias = layer.get_weights()
    kernel[:, 2], bias[2] = 0, 0
    layer.set_weights([kernel, bias])
    lasso = GroupLasso(model, 2.0)
    with tf.GradientTape() as tape:
        penalty = lasso.penalty()
    slope = tape.gradient(penalty, layer.kernel).numpy()
    norms = np.array(slow_norms(model)["hidden"])
    expected = 2 * kernel / np.where(norms > 0, norms, 1)
    np.testing.assert_allclose(slope, expected, atol=1e-5)


@pytest.mark.parametrize("jit", [False, True])
def test_the_proximal_step_is_a_block_soft_threshold(jit):
    model = network()
    before = {
        layer: model.get_layer(layer).get_weights() for layer in slow_norms(model)
    }
    norms = slow_norms(model)
    middle = float(np.median(norms["hidden"]))
    lasso = GroupLasso(model, 10.0)
    step = lasso.proximal(lambda: tf.constant(middle / 10))
    outputs = model.get_layer("logits").get_weights()
    tf.function(lambda: step(model), jit_compile=jit)()
    for name, (kernel, bias) in before.items():
        factors = np.array([max(0, 1 - middle / norm) for norm in norms[name]])
        now = model.get_layer(name).get_weights()
        np.testing.assert_allclose(now[0], kernel * factors, atol=1e-5)
        np.testing.assert_allclose(now[1], bias * factors, atol=1e-5)
    dead = np.array(slow_norms(model)["hidden"]) == 0
    assert 0 < dead.sum() < 6, "some units should be exactly zero"
    for now, then in zip(model.get_layer("logits").get_weights(), outputs, strict=True):
        np.testing.assert_array_equal(now, then)


def test_a_cut_of_dead_units_changes_nothing():
    model = network()
    lasso = GroupLasso(model, 1.0)
    lasso.proximal(float(np.median(slow_norms(model)["hidden"])))(model)
    masks = lasso.alive()
    small = npr.shrink(model, masks)
    assert small.count_params() < model.count_params()
    assert small.output_shape == (None, 3)
    images = np.random.default_rng(1).normal(size=(20, 5, 5, 1)).astype(np.float32)
    np.testing.assert_allclose(small(images), model(images), atol=1e-4)
    npr.certify(model, masks, small, images).require()


def test_the_strongest_unit_of_a_layer_stays():
    model = network()
    norms = slow_norms(model)
    masks = GroupLasso(model, 1.0).alive(threshold=1e9)
    for name, mask in masks.items():
        assert np.flatnonzero(mask).tolist() == [int(np.argmax(norms[name]))]


def test_units_that_several_layers_make_live_and_die_together():
    inputs = keras.Input((3,))
    first = keras.layers.Dense(4, name="first")(inputs)
    second = keras.layers.Dense(4, use_bias=False, name="second")(inputs)
    outputs = keras.layers.Dense(2)(keras.layers.Add()([first, second]))
    lasso = GroupLasso(keras.Model(inputs, outputs), 1.0)
    ((_, norms),) = lasso.norms().items()
    weights = [
        weight.numpy()
        for g in lasso.groups
        for m in g.producers
        for weight in m.layer.weights
    ]
    expected = [np.sqrt(sum(np.sum(w[..., u] ** 2) for w in weights)) for u in range(4)]
    np.testing.assert_allclose(norms, expected, rtol=1e-5)


def test_bad_settings_are_said():
    with pytest.raises(ValueError, match="weight: got -1.0, expected 0 or more"):
        GroupLasso(network(), -1.0)
    inputs = keras.Input((3,))
    linear = keras.Model(inputs, keras.layers.Dense(2)(inputs), name="linear")
    with pytest.raises(ValueError, match="model 'linear' has no unit that could be"):
        GroupLasso(linear, 1.0)
