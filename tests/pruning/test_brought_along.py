"""What users' networks bring along: augmentation, Keras masks, own functions."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from network_pruning.pruning import certificate, gates, surgery, units
from network_pruning.pruning.criteria import score_units
from network_pruning.pruning.plan import plan
from network_pruning.pruning.selection import keep_units
from tests import cases

layers = keras.layers


def halved(model):
    """Returns masks of half of each group, and the shrunk network."""
    cases.randomise(model)
    masks = keep_units(score_units(model, "l2"), sparsity=0.5)
    assert masks
    return masks, surgery.shrink(model, masks)


@pytest.mark.parametrize(
    "augment",
    [
        lambda: layers.RandomFlip(),
        lambda: layers.RandomRotation(0.2),
        lambda: layers.RandomZoom(0.3),
    ],
)
def test_a_network_that_augments_its_images_is_proven_at_rest(augment):
    model = keras.Sequential([
        keras.Input((8, 8, 1)),
        augment(),
        layers.Conv2D(6, 3, activation="relu"),
        layers.Flatten(),
        layers.Dense(3),
    ])
    masks, small = halved(model)
    proof = certificate.certify(model, masks, small, cases.examples(model, 8))
    assert proof.ok and proof.max_rel_diff < 1e-6


def with_masking(start):
    x = inputs = start[0]
    for layer in start[1:]:
        x = layer(x)
    x = layers.Dense(12, activation="relu")(x)
    x = layers.Dropout(0.5)(x)
    x = layers.Dense(8, activation="relu", name="last")(x)
    x = layers.GlobalAveragePooling1D()(x)
    return keras.Model(inputs, layers.Dense(2)(x))


NUMBERS = np.random.default_rng(0).normal(size=(5, 6, 4)).astype(np.float32)
NUMBERS[:, 3:] = 0
WORDS = np.array([[1, 2, 3, 0, 0], [4, 4, 0, 0, 0], [1, 2, 3, 4, 5]])


@pytest.mark.parametrize(
    ("make", "x"),
    [
        (lambda: with_masking([keras.Input((6, 4)), layers.Masking()]), NUMBERS),
        (
            lambda: with_masking([
                keras.Input((5,)),
                layers.Embedding(9, 4, mask_zero=True),
            ]),
            WORDS,
        ),
    ],
)
def test_places_that_are_left_out_stay_so_behind_a_gate(make, x):
    model = make()
    masks, small = halved(model)
    whole = {g.name: np.ones(g.n_units, bool) for g in units.find_groups(model)}
    np.testing.assert_allclose(gates.gate(model, whole)(x), model(x), atol=1e-6)
    gated = gates.gate(model, masks)(x)
    assert np.abs(gated - model(x)).max() > 1e-3
    np.testing.assert_allclose(gated, small(x), atol=1e-6)
    assert certificate.certify(model, masks, small, x).ok


def test_criteria_of_coalitions_refuse_what_leaves_places_out():
    model = with_masking([keras.Input((6, 4)), layers.Masking()])
    data = cases.dataset(model)
    with pytest.raises(ValueError, match="Keras masks.*such as taylor or fisher"):
        score_units(model, "shapley", data)


def bent(x):
    return x * tf.tanh(x)


def drawn(shape, dtype=None):
    return tf.ones(shape, dtype)


def pressed(weight):
    return 0.1 * tf.reduce_sum(weight**2)


@pytest.mark.filterwarnings("ignore:The `keras.*serialize")
def test_functions_of_ones_own_are_those_of_the_cut_network_too():
    x = inputs = keras.Input((5,))
    x = layers.Dense(8, kernel_initializer=drawn, kernel_regularizer=pressed)(x)
    x = layers.Activation("relu")(x)
    x = layers.Dense(8, activation=bent)(x)
    model = keras.Model(inputs, layers.Dense(3)(layers.Activation(tf.math.sin)(x)))
    masks, small = halved(model)
    x = cases.examples(model, 8)
    np.testing.assert_allclose(gates.gate(model, masks)(x), small(x), atol=1e-5)
    (loss,) = small.losses
    kernel = small.layers[1].kernel
    assert float(loss) == pytest.approx(0.1 * np.sum(kernel.numpy() ** 2), rel=1e-5)


def test_losses_that_are_left_behind_are_named(caplog):
    inputs = keras.Input((5,))
    hidden = layers.Dense(16, activation="relu")(inputs)
    model = keras.Model(inputs, layers.Dense(3)(hidden))
    surgery.shrink(model, {})
    assert not caplog.messages
    model.add_loss(tf.reduce_mean(tf.square(model.layers[1].output)))
    surgery.shrink(model, {})
    assert "AddLoss of the model is not carried over: add it" in caplog.text


def test_a_table_of_words_is_refused_and_what_lies_behind_it_is_cut():
    layers = keras.layers
    words = layers.TextVectorization(max_tokens=9, output_sequence_length=3)
    words.adapt(["a b c", "d e f"])
    inputs = keras.Input((1,), dtype=tf.string)
    x = layers.GlobalAveragePooling1D()(layers.Embedding(9, 4)(words(inputs)))
    model = keras.Model(inputs, layers.Dense(2)(layers.Dense(6, "relu")(x)))
    masks = keep_units(score_units(model, "l1"), sparsity=0.5)
    for cut in (plan, surgery.shrink):
        with pytest.raises(ValueError, match="text_.* holds a table, .* cut the one"):
            cut(model, masks)
    behind = keras.Model(words.output, model.output)
    small = surgery.shrink(behind, masks)
    said = tf.constant([["a e"], ["c"]])
    expected = gates.gate(model, masks)(said)
    np.testing.assert_allclose(small(words(said)), expected, rtol=1e-5)
