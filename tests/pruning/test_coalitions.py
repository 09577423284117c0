"""The fast evaluation of coalitions, against the gated network called one by one."""

from __future__ import annotations

import types

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from network_pruning.evaluation import metrics
from network_pruning.pruning import (
    coalitions,
    contributions,
    cut_network,
    layer_rules,
)
from network_pruning.pruning.coalitions import Coalitions, valid_images
from network_pruning.pruning.gates import gate
from network_pruning.pruning.layer_rules import LayerRule
from network_pruning.pruning.units import find_groups
from tests import cases

layers = keras.layers
IMAGES = 11


def labelled(model, n=IMAGES):
    y = np.random.default_rng(1).integers(0, model.output_shape[-1], n)
    return cases.examples(model, n), y


def some_masks(n_units, m=9, seed=0):
    masks = np.random.default_rng(seed).random((m, n_units)) < 0.5
    masks[0], masks[1] = True, False
    return masks


def slow(model, group, x, y, masks, value="cross_entropy"):
    """Coalition by coalition through the whole gated network."""
    gated = gate(model)
    quality = getattr(metrics, value)
    sign = -1 if value == "cross_entropy" else 1
    values = []
    for mask in masks:
        outputs = np.asarray(gated(x, masks={group.name: tf.constant(mask)}), float)
        if "softmax" in str(model.get_config()).lower():
            outputs = np.log(outputs)
        values.append(sign * quality(outputs, y))
    return np.array(values)


def check(model, value="cross_entropy"):
    x, y = labelled(model)
    linear = []
    for group in find_groups(model):
        masks = some_masks(group.n_units)
        game = Coalitions(model, group, x, y, value)
        expected = slow(model, group, x, y, masks, value)
        assert np.allclose(game(masks), expected, rtol=1e-5, atol=2e-6)
        linear.append(game.linear)
    return linear


@pytest.mark.parametrize("name", [name for name in cases.CASES if name != "ends"])
def test_equals_the_gated_network(name):
    check(cases.randomise(cases.CASES[name]()))


def test_accuracy_as_value():
    check(cases.randomise(cases.plain()), "accuracy")


def test_who_is_linear():
    assert check(cases.randomise(cases.plain())) == [True, True, True]
    assert check(cases.randomise(cases.nested())) == [False, True]


@pytest.mark.parametrize("name", ["nested", "flatten"])
def test_chunks_and_padding_change_nothing(monkeypatch, name):
    model = cases.randomise(cases.CASES[name]())
    monkeypatch.setattr(cut_network, "CHUNK_IMAGES", 4)
    monkeypatch.setattr(cut_network, "MASKS", 2)
    check(model)
    monkeypatch.setattr(coalitions, "KEPT_BYTES", 0)
    monkeypatch.setattr(cut_network, "WORK_BYTES", 1)
    check(model)


@pytest.mark.parametrize("name", ["plain", "flatten"])
def test_the_general_path_equals_the_linear_one(monkeypatch, name):
    monkeypatch.setattr(contributions, "is_linear", lambda layer: False)
    assert not any(check(cases.randomise(cases.CASES[name]())))


@pytest.mark.parametrize("activation", ["softmax", None])
def test_softmax_is_never_taken_twice(activation):
    x = inputs = keras.Input((5,), name="features")
    x = layers.Dense(6, "relu", name="hidden")(x)
    outputs = layers.Dense(3, activation, name="out")(x)
    model = cases.randomise(keras.Model(inputs, outputs))
    check(model)
    # Far out, where the probabilities themselves would underflow.
    model.get_layer("out").bias.assign([0.0, 200.0, -200.0])
    x, y = cases.examples(model, 4), np.array([2, 2, 2, 2])
    game = Coalitions(model, find_groups(model)[0], x, y)
    assert -500 < game(np.zeros((1, 6), bool))[0] < -399


def test_a_coalition_is_evaluated_once():
    model = cases.randomise(cases.plain())
    x, y = labelled(model)
    game = Coalitions(model, find_groups(model)[0], x, y)
    masks = some_masks(game.n)
    first = game(np.concatenate([masks, masks]))
    assert game.forward == IMAGES * (len(masks) + 1)
    assert np.array_equal(first[: len(masks)], first[len(masks) :])
    assert np.array_equal(game(masks[::-1]), first[: len(masks)][::-1])
    assert game.forward == IMAGES * (len(masks) + 1)


def test_a_value_does_not_depend_on_its_company():
    model = cases.randomise(cases.normalised())
    x, y = labelled(model)
    group = find_groups(model)[0]
    masks = some_masks(group.n_units, m=100)
    whole = Coalitions(model, group, x, y)(masks)
    game = Coalitions(model, group, x, y)
    alone = [game(mask[None])[0] for mask in masks]
    assert np.array_equal(whole, alone)


def test_a_skip_connection_is_read_from_below(monkeypatch):
    add = LayerRule(role="passive")
    monkeypatch.setitem(layer_rules.RULES, layers.Add, add)
    x = inputs = keras.Input((5,), name="features")
    early = layers.Dense(4, "tanh", name="early")(inputs)
    x = layers.Dense(6, "relu", name="hidden")(inputs)
    x = layers.Dense(4, "tanh", name="middle")(x)
    x = layers.Add(name="add")([x, early])
    model = cases.randomise(keras.Model(inputs, layers.Dense(3, name="logits")(x)))
    assert check(model)[0]


@pytest.fixture
def conv_rules(monkeypatch):
    """Enough of the rules for convolutions to find their units."""
    conv = LayerRule("mixer", {"kernel": ("in", "out"), "bias": ("out",)}, "filters")
    rules = {layers.Conv2D: conv}
    for pooling in (layers.MaxPooling2D, layers.AveragePooling2D):
        rules[pooling] = LayerRule("passive")
    for layer_class, rule in rules.items():
        monkeypatch.setitem(layer_rules.RULES, layer_class, rule)


@pytest.mark.usefixtures("conv_rules")
def test_convolutions():
    x = inputs = keras.Input((14, 14, 2), name="images")
    x = layers.Conv2D(4, 3, activation="relu", name="conv1")(x)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.Conv2D(5, (3, 2), 2, "same", activation="tanh", name="conv2")(x)
    x = layers.MaxPooling2D(2, name="pool")(x)
    x = layers.Conv2D(6, 2, dilation_rate=2, padding="same", name="conv3")(x)
    x = layers.Flatten(name="flatten")(x)
    model = cases.randomise(keras.Model(inputs, layers.Dense(3, name="logits")(x)))
    assert check(model) == [True, True, True]


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize(
    "options", [{}, {"strides": (2, 1)}, {"dilation_rate": 2}, {"use_bias": False}]
)
def test_contributions_sum_to_the_convolution(padding, options):
    layer = layers.Conv2D(3, (3, 2), padding=padding, **options)
    x = tf.random.normal((2, 9, 8, 5))
    layer(x)
    layer.set_weights([
        np.random.default_rng(0).normal(size=w.shape) for w in layer.get_weights()
    ])
    units = np.array([1, -1, 0, 1, 2])
    shares = contributions.contributions(layer, x, units, 4)
    base = contributions.base(layer, x, units)
    for mask in ([1, 1, 1, 1], [0, 1, 0, 1], [0, 0, 0, 0]):
        kept = np.array([mask[u] if u >= 0 else 1 for u in units], np.float32)
        total = tf.reshape(np.float32([mask]) @ shares, base.shape) + base
        assert np.allclose(total, layer(x * kept), atol=1e-5)


def test_other_layers_are_not_linear():
    assert not contributions.is_linear(layers.Conv2D(4, 3, groups=2))
    assert not contributions.is_linear(layers.Conv2DTranspose(4, 3))
    assert not contributions.is_linear(layers.DepthwiseConv2D(3))
    assert not contributions.is_linear(layers.Dense(4, dtype="mixed_float16"))
    assert contributions.is_linear(layers.Dense(4))


def test_images_are_drawn_from_valid_alone():
    x, y = np.arange(20.0, dtype=np.float32), np.arange(20) % 3
    data = types.SimpleNamespace(name="toy", in_memory=True, x_valid=x, y_valid=y)
    some, labels = valid_images(data, 7, seed=3)
    order = np.random.default_rng(3).permutation(20)[:7]
    assert np.array_equal(some, x[order])
    assert np.array_equal(labels, y[order])
    assert len(valid_images(data, 99)[0]) == 20

    def batches(split, size, seed):
        assert split == "valid"
        whole = np.random.default_rng(seed).permutation(20)
        return tf.data.Dataset.from_tensor_slices((x[whole], y[whole])).batch(size)

    streamed = types.SimpleNamespace(name="toy", in_memory=False, batches=batches)
    assert np.array_equal(valid_images(streamed, 7, seed=3)[0], some)
    data.y_valid = np.zeros((20, 4), np.uint8)
    with pytest.raises(ValueError, match=r"labels of 'toy': got shape \[20, 4\]"):
        valid_images(data, 20)
    with pytest.raises(ValueError, match="got data=None: pass a Dataset"):
        valid_images(None, 20)
    with pytest.raises(ValueError, match="images: got 0"):
        valid_images(data, 0)


def test_refusals():
    model = cases.plain()
    x, y = labelled(model)
    group = find_groups(model)[0]
    with pytest.raises(ValueError, match=r"value: got 'loss'.*'cross_entropy'"):
        Coalitions(model, group, x, y, "loss")
    two = keras.Model(model.inputs, [model.output, model.output])
    with pytest.raises(ValueError, match="expected one of logits"):
        Coalitions(two, group, x, y)
