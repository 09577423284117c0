"""Criteria that read data, against loops over single examples."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from network_pruning.pruning.criteria import score_units
from tests import cases

layers = keras.layers


def by_hand(model, x, until):
    """The activations on their way to layer `until`."""
    return keras.Model(model.input, model.get_layer(until).input)(x).numpy()


def standard_error(each):
    return each.std(axis=0, ddof=1) / np.sqrt(len(each))


def test_share_of_silence_as_the_consumer_reads_it():
    model = cases.randomise(cases.plain())
    data = cases.dataset(model)
    scores = score_units(model, "apoz", data, batch_size=15)
    for name, until in (("hidden_1", "hidden_2"), ("hidden_3", "logits")):
        active = by_hand(model, data.x_train, until) != 0
        assert 0 < active.mean() < 1
        assert np.allclose(scores[name].values, active.mean(axis=0))
        expected = standard_error(active.astype(float))
        assert np.allclose(scores[name].standard_error, expected)


def test_activations_behind_normaliser_and_over_positions():
    model = cases.randomise(cases.flatten())
    data = cases.dataset(model)
    scores = score_units(model, "mean_activation", data)["hidden_1"]
    read = by_hand(model, data.x_train, "flatten")
    each = np.abs(read).mean(axis=(1, 2))
    assert (read < 0).any()
    assert np.allclose(scores.values, each.mean(axis=0))
    assert np.allclose(scores.standard_error, standard_error(each), rtol=1e-5)


def test_every_call_of_a_shared_consumer_counts():
    model = cases.randomise(cases.nested())
    data = cases.dataset(model)
    scores = score_units(model, "mean_activation", data)["hidden_1"]
    x = model.get_layer("hidden_1")(data.x_train)
    inner, shared = model.get_layer("inner"), model.get_layer("shared")
    read = []
    for _ in range(2):
        read.append(inner.get_layer("relu")(x))
        x = inner(x, training=False)
    for _ in range(2):
        read.append(x)
        x = shared(x)
    read.append(x)
    assert np.allclose(scores.values, np.abs(read).mean(axis=(0, 1)), rtol=1e-5)


def gradients_by_hand(model, data, until):
    """a * dL/da of each example alone, summed over positions."""
    layer = model.get_layer(until)
    head = keras.Model(model.input, layer.input)
    tail = keras.Model(layer.input, model.output)
    rows = []
    for image, label in zip(data.x_train, data.y_train, strict=True):
        activation = head(image[None])
        with tf.GradientTape() as tape:
            tape.watch(activation)
            loss = -tf.nn.log_softmax(tail(activation))[0, label]
        product = activation * tape.gradient(loss, activation)
        rows.append(np.sum(product, axis=tuple(range(product.shape.rank - 1))))
    return np.array(rows, np.float64)


@pytest.mark.parametrize(
    ("build", "group", "until"),
    [
        (cases.normalised, "hidden_1", "hidden_2"),
        (cases.normalised, "hidden_2", "logits"),
        (cases.flatten, "hidden_1", "flatten"),
    ],
)
def test_gradients_of_each_example_alone(build, group, until):
    model = cases.randomise(build())
    data = cases.dataset(model, n=9)
    g = gradients_by_hand(model, data, until)

    def score(name, **options):
        return score_units(model, name, data, batch_size=4, **options)[group]

    expected = {
        "fisher": (0.5 * g**2, (0.5 * g**2).mean(axis=0)),
        "mean_abs": (np.abs(g), np.abs(g).mean(axis=0)),
        "abs_mean": (g, np.abs(g.mean(axis=0))),
    }
    for name, (each, values) in expected.items():
        options = {} if name == "fisher" else {"form": name}
        scores = score("fisher" if name == "fisher" else "taylor", **options)
        assert np.allclose(scores.values, values, rtol=1e-4, atol=1e-7), name
        error = standard_error(each)
        assert np.allclose(scores.standard_error, error, rtol=1e-3, atol=1e-7), name


def test_draw_is_seeded_and_priced():
    model = cases.randomise(cases.plain())
    data = cases.dataset(model)

    def score(seed=0, images=7):
        return score_units(model, "fisher", data, seed=seed, images=images)

    first = score()
    assert np.array_equal(first["hidden_2"].values, score()["hidden_2"].values)
    assert not np.array_equal(first["hidden_2"].values, score(1)["hidden_2"].values)
    assert [s.price.forward for s in first.values()] == [3, 2, 2]
    assert sum(s.price.backward for s in score(images=10**6).values()) == 40
    assert np.isnan(score(images=1)["hidden_1"].standard_error).all()


def test_one_line_for_a_wrong_option():
    model = cases.plain()
    data = cases.dataset(model)
    with pytest.raises(ValueError, match="form: got 'abs', expected one of mean_abs"):
        score_units(model, "taylor", data, form="abs")
    with pytest.raises(ValueError, match="images: got 0, expected a positive"):
        score_units(model, "apoz", data, images=0)
    data.multi_label = True
    with pytest.raises(ValueError, match="needs one class an example"):
        score_units(model, "fisher", data)
    assert score_units(model, "apoz", data)


def slow_ranks(values):
    """From 1, the smallest; equal ones share the mean of their ranks."""
    return [
        1 + sum(other < v for other in values) + (sum(values == v) - 1) / 2
        for v in values
    ]


def test_combined_is_the_mean_rank():
    model = cases.randomise(cases.plain())
    data = cases.dataset(model)
    options = {"fisher": {"images": 10}}
    both = score_units(model, "combined", data, of="l2, fisher", options=options)
    parts = [
        score_units(model, "l2"),
        score_units(model, "fisher", data, images=10),
    ]
    for name, score in both.items():
        ranks = [slow_ranks(part[name].values) for part in parts]
        assert np.array_equal(score.values, np.mean(ranks, axis=0))
    assert sum(s.price.forward for s in both.values()) == 10


def test_combined_refuses():
    model = cases.plain()
    for of in ("l2,l2", "combined", ()):
        with pytest.raises(ValueError, match="expected different criteria"):
            score_units(model, "combined", of=of)
    with pytest.raises(ValueError, match="options: got 'l1', expected one of"):
        score_units(model, "combined", of="l2", options={"l1": {}})
    with pytest.raises(ValueError, match="Did you mean 'fisher'"):
        score_units(model, "combined", of="fischer")


def ending_in(model, *ends):
    """The same network, of the same layers, with more behind its logits."""
    x = model.output
    for end in ends:
        x = end(x)
    return keras.Model(model.input, x, name=f"{model.name}_more")


SOFTMAX_ENDS = {
    "layer": (layers.Softmax(),),
    "further_layers": (layers.Softmax(), layers.Reshape((3,)), layers.Identity()),
    "operation": (layers.Softmax(), lambda x: tf.cast(x, "float32")),
}


@pytest.mark.parametrize(
    ("criterion", "options", "ends"),
    [
        ("taylor", {}, SOFTMAX_ENDS),
        ("fisher", {}, SOFTMAX_ENDS),
        ("leave_one_out", {}, SOFTMAX_ENDS),
        ("shapley", {"samples": 2}, SOFTMAX_ENDS),
        # What learns is traced for every end: one will do.
        ("dirichlet", {"steps": 3}, ["operation"]),
        ("dirichlet", {"steps": 3, "kind": "integral", "samples": 2}, ["layer"]),
        ("softmax_switch", {"steps": 3}, ["further_layers"]),
    ],
)
def test_probabilities_are_not_put_through_a_softmax_twice(criterion, options, ends):
    model = cases.randomise(cases.plain())
    data = cases.dataset(model)
    data.x_valid, data.y_valid = data.x_train, data.y_train
    expected = score_units(model, criterion, data, **options)
    for end in ends:
        more = ending_in(model, *SOFTMAX_ENDS[end])
        found = score_units(more, criterion, data, **options)
        for name, scores in expected.items():
            assert np.allclose(
                found[name].values, scores.values, rtol=1e-3, atol=1e-5
            ), (name, end)


def test_sums_over_many_places_survive_half_precision():
    with cases.precision("mixed_float16"):
        x = inputs = keras.Input((260, 260, 1))
        x = layers.Conv2D(3, 1, bias_initializer="ones", name="conv")(x)
        x = layers.GlobalAveragePooling2D()(layers.Conv2D(2, 1, name="last")(x))
        model = keras.Model(inputs, x)
    data = cases.dataset(model, n=4)
    scores = score_units(model, "mean_activation", data)["conv"]
    read = by_hand(model, data.x_train, "last").astype(np.float64)
    assert np.allclose(scores.values, np.abs(read).mean(axis=(0, 1, 2)), rtol=1e-2)


def test_images_of_any_size_are_ranked_by_coalitions():
    x = inputs = keras.Input((None, None, 1))
    x = layers.Conv2D(4, 3, activation="relu", name="first")(x)
    x = layers.Conv2D(3, 3, activation="relu", name="second")(x)
    x = layers.Dense(2, name="logits")(layers.GlobalAveragePooling2D()(x))
    open_, size = keras.Model(inputs, x), keras.Input((7, 7, 1))
    settled = keras.Model(size, open_(size))
    data = cases.dataset(settled)
    data.x_valid, data.y_valid = data.x_train, data.y_train
    found = score_units(open_, "leave_one_out", data)
    expected = score_units(settled, "leave_one_out", data)
    for ours, theirs in zip(found.values(), expected.values(), strict=True):
        assert np.allclose(ours.values, theirs.values, rtol=1e-4, atol=1e-6)


def test_what_cannot_be_ranked_is_said():
    inputs = [keras.Input((4,)), keras.Input((3,))]
    hidden = layers.Dense(5, "relu")(layers.Concatenate()(inputs))
    two = keras.Model(inputs, layers.Dense(3)(hidden), name="two")
    plain = cases.plain()
    named = keras.Model(plain.inputs, {"out": plain.outputs[0]}, name="named")
    data = cases.dataset(plain)
    for model, criterion, options, message in (
        (two, "apoz", {}, "model 'two': got 2 inputs, expected one, of images"),
        (two, "mean_activation", {}, "model 'two': got 2 inputs, expected one"),
        (named, "fisher", {}, "model 'named': got its output within a dict, expected"),
        (plain, "l2", {"groups": ["hidden_1"]}, "groups: got 'hidden_1', expected gr"),
        (plain, "random", {"seed": -1}, "seed: got -1, expected a whole number"),
        (plain, "random", {"seed": 1.5}, "seed: got 1.5, expected a whole number"),
    ):
        with pytest.raises(ValueError, match=message):
            score_units(model, criterion, data, **options)
