"""The criteria that judge coalitions of units, on networks whose answer is known."""

from __future__ import annotations

import itertools
import types

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from network_pruning.evaluation import metrics
from network_pruning.pruning import criteria
from network_pruning.pruning.gates import gate
from network_pruning.pruning.units import find_groups
from tests import cases

NAMES = ("leave_one_out", "oracle", "partial", "shapley")


class ValidOnly(types.SimpleNamespace):
    """A dataset that has a validation split and nothing else to look at."""

    name = "toy"
    in_memory = True


def labelled(model, n=24):
    y = np.random.default_rng(1).integers(0, model.output_shape[-1], n)
    x = cases.examples(model, n)
    return ValidOnly(x_valid=x, y_valid=y, input_shape=x.shape[1:])


@pytest.fixture(scope="module")
def small():
    """Two groups of five and four units, normalised, so that a cut unit revives."""
    layers = keras.layers
    x = inputs = keras.Input((4,), name="features")
    for i, width in enumerate((5, 4), start=1):
        x = layers.Dense(width, name=f"hidden_{i}")(x)
        x = layers.BatchNormalization(name=f"norm_{i}")(x)
        x = layers.Activation("sigmoid", name=f"sigmoid_{i}")(x)
    outputs = layers.Dense(3, name="logits")(x)
    return cases.randomise(keras.Model(inputs, outputs, name="small"), seed=2)


def slow_game(model, name, data):
    """Minus the cross entropy of the gated network, coalition by coalition."""
    gated = gate(model)

    def value(present, n):
        mask = tf.constant(np.isin(np.arange(n), list(present)))
        logits = gated(data.x_valid, masks={name: mask})
        return -metrics.cross_entropy(logits, data.y_valid)

    return value


def slow_shapley(value, n):
    phi = np.zeros(n)
    known = {
        present: value(present, n)
        for size in range(n + 1)
        for present in itertools.combinations(range(n), size)
    }
    orders = list(itertools.permutations(range(n)))
    for order in orders:
        for place, unit in enumerate(order):
            with_it = tuple(sorted(order[: place + 1]))
            phi[unit] += known[with_it] - known[tuple(sorted(order[:place]))]
    return phi / len(orders)


def score(model, name, data=None, **options):
    data = data or labelled(model)
    return criteria.score_units(model, name, data, **options)


def test_shapley_is_the_mean_over_all_orders(small):
    data = labelled(small)
    found = score(small, "shapley", data, estimator="exact")
    for group in find_groups(small):
        slow = slow_shapley(slow_game(small, group.name, data), group.n_units)
        assert np.allclose(found[group.name].values, slow, atol=1e-6)
        assert found[group.name].standard_error is None
    kernel = score(small, "shapley", data, estimator="kernel")
    partial = score(small, "partial", data, size=99)
    for name, scores in found.items():
        assert np.allclose(kernel[name].values, scores.values, atol=1e-6)
        assert np.allclose(partial[name].values, scores.values, atol=1e-12)


def test_sampled_values_lie_within_their_errors(small):
    exact = score(small, "shapley", estimator="exact")
    sampled = score(small, "shapley", samples=200)
    for name, scores in sampled.items():
        assert scores.values.dtype == np.float64
        difference = np.abs(scores.values - exact[name].values)
        assert (difference < 4 * scores.standard_error + 1e-9).all()
        assert (scores.standard_error > 0).all()


def test_leave_one_out(small):
    data = labelled(small)
    found = score(small, "leave_one_out", data)
    for group in find_groups(small):
        value, n = slow_game(small, group.name, data), group.n_units
        slow = [value(range(n), n) - value(set(range(n)) - {i}, n) for i in range(n)]
        assert np.allclose(found[group.name].values, slow, atol=1e-6)
        # Once for what lies below, once for each coalition.
        assert found[group.name].price.forward == 24 * (1 + 1 + n)
        assert found[group.name].price.seconds > 0


def test_oracle_spares_what_no_best_removal_takes(small):
    data = labelled(small)
    found = score(small, "oracle", data, size=3)
    for group in find_groups(small):
        value, n = slow_game(small, group.name, data), group.n_units
        spared = np.zeros(n)
        for size in (1, 2, 3):
            sets = [set(gone) for gone in itertools.combinations(range(n), size)]
            best = max(sets, key=lambda gone: value(set(range(n)) - gone, n))
            spared += ~np.isin(np.arange(n), list(best))
        assert np.allclose(found[group.name].values, spared / 3)


def test_a_unit_nobody_reads_is_worth_nothing_and_twins_are_worth_the_same():
    model = cases.randomise(cases.normalised())
    kernel, bias = model.get_layer("hidden_2").get_weights()
    kernel[:, 4], bias[4] = kernel[:, 3], bias[3]
    model.get_layer("hidden_2").set_weights([kernel, bias])
    norm = model.get_layer("norm_2")
    norm.set_weights([np.r_[w[:4], w[3], w[5:]] for w in norm.get_weights()])
    kernel, bias = model.get_layer("logits").get_weights()
    kernel[1], kernel[4] = 0, kernel[3]
    model.get_layer("logits").set_weights([kernel, bias])
    for options in ({"estimator": "exact"}, {"estimator": "kernel"}):
        found = score(model, "shapley", **options)["hidden_2"].values
        assert abs(found[1]) < 1e-6 < 1e-3 < np.abs(found[[0, 3]]).min()
        assert np.isclose(found[3], found[4], atol=1e-6)


def test_the_original_regression_is_there_for_comparison(small):
    found = score(small, "shapley", estimator="legacy", value="accuracy")
    assert all(s.standard_error is None for s in found.values())
    assert all(s.price.forward > 0 for s in found.values())


@pytest.mark.parametrize("name", NAMES)
def test_every_unit_has_a_score(name):
    model = cases.randomise(cases.flatten())
    options = {"samples": 4} if name == "shapley" else {}
    scores = score(model, name, images=10, **options)
    sizes = {group.name: group.n_units for group in find_groups(model)}
    assert {n: s.values.size for n, s in scores.items()} == sizes
    assert all(np.isfinite(s.values).all() for s in scores.values())


@pytest.mark.parametrize("estimator", ["permutation", "kernel"])
def test_resuming_and_extending_give_the_same_scores(small, estimator):
    states = {}

    def run(samples, earlier=None):
        options = {"estimator": estimator, "samples": samples, "earlier": earlier}
        return score(small, "shapley", checkpoint=states.__setitem__, **options)

    run(10)
    assert list(states) == ["hidden_1", "hidden_2"]
    part = dict(states)
    extended, whole = run(24, part), run(24)
    for name in whole:
        assert np.array_equal(extended[name].values, whole[name].values)
        own = extended[name].price.forward - part[name].price.forward
        assert 0 < own <= whole[name].price.forward


def test_a_group_is_scored_alike_alone(small):
    groups = find_groups(small)
    both = score(small, "shapley", samples=10)
    alone = score(small, "shapley", samples=10, groups=groups[1:])
    assert list(alone) == ["hidden_2"]
    assert np.array_equal(alone["hidden_2"].values, both["hidden_2"].values)


def test_a_decided_cut_saves_evaluations(small):
    whole = score(small, "shapley", samples=2000)
    early = score(small, "shapley", samples=2000, kept={"hidden_1": 2})
    errors = [s["hidden_1"].standard_error.max() for s in (early, whole)]
    assert errors[0] > 1.5 * errors[1]
    kept = [set(s["hidden_1"].values.argsort()[-2:]) for s in (early, whole)]
    assert kept[0] == kept[1]
    assert np.array_equal(early["hidden_2"].values, whole["hidden_2"].values)


def test_the_network_is_left_as_it_was(small):
    before = [weight.numpy() for weight in small.weights]
    score(small, "shapley", samples=2)
    for weight, value in zip(small.weights, before, strict=True):
        assert np.array_equal(weight, value)


def test_refusals(small):
    with pytest.raises(ValueError, match="got data=None: pass a Dataset"):
        criteria.score_units(small, "shapley")
    with pytest.raises(
        ValueError, match="estimator: got 'magic', expected one of perm"
    ):
        score(small, "shapley", estimator="magic")
    with pytest.raises(ValueError, match="estimator 'kernel': got tolerance=0.1"):
        score(small, "shapley", estimator="kernel", tolerance=0.1)
    with pytest.raises(ValueError, match="kept: got the group 'hidden_9', expected"):
        score(small, "shapley", kept={"hidden_9": 1})
    with pytest.raises(
        ValueError, match="kept: got 6 for group 'hidden_1', expected 1"
    ):
        score(small, "shapley", kept={"hidden_1": 6})
