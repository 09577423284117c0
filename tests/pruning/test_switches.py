"""Switches learn; the network does not."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from network_pruning import graph
from network_pruning.pruning.criteria import score_units
from network_pruning.pruning.gates import gate
from network_pruning.pruning.switch_laws import (
    Dirichlet,
    GeneralisedDirichlet,
    Softmax,
)
from network_pruning.pruning.switches import SwitchedModel, learn_switches
from network_pruning.pruning.units import find_groups
from network_pruning.training import DivergedError
from tests import cases

SEED = tf.constant([0, 7], tf.int64)


def switched(law, build=cases.normalised, **options):
    network = cases.randomise(build())
    groups = find_groups(network)
    return SwitchedModel(network, groups, law, **options), cases.dataset(network)


def test_the_mean_multiplies_the_units():
    model, data = switched(Dirichlet())
    model.thetas["hidden_2"].assign([-2, -1, 0, 1, 2, 3, 4])
    means = {
        n: model.law.mean(tf.convert_to_tensor(t)) for n, t in model.thetas.items()
    }
    expected = gate(model.network)(data.x_train, masks=means)
    assert np.allclose(model(data.x_train), expected, atol=1e-6)
    assert np.allclose(model.logits(data.x_train, SEED), expected, atol=1e-6)


def test_rescaled_switches_start_at_the_whole_network():
    model, data = switched(Dirichlet(), rescale=True)
    assert np.allclose(model(data.x_train), model.network(data.x_train), atol=1e-5)


@pytest.mark.parametrize("law", [Dirichlet(3), GeneralisedDirichlet(3)])
def test_averaging_over_draws_keeps_the_images_apart(law):
    model, data = switched(law)
    together = model.logits(data.x_train[:5], SEED).numpy()
    alone = [model.logits(data.x_train[i : i + 1], SEED)[0] for i in range(5)]
    assert np.allclose(together, alone, atol=1e-6)
    assert np.abs(together[0] - together[1]).max() > 1e-3
    other = model.logits(data.x_train[:5], SEED + 1)
    assert np.abs(together - other).max() > 1e-4


def test_only_the_switches_learn():
    model, data = switched(Dirichlet(2))
    before = graph.fingerprint(model.network)
    flags = [layer.trainable for layer in model.network.layers]
    start = [theta.numpy() for theta in model.trainable_weights]
    optimizer = keras.optimizers.SGD(0.1, momentum=0.9, weight_decay=0.1)
    model.compile(optimizer)
    model.fit(data.x_train, data.y_train, epochs=2, verbose=0)
    assert graph.fingerprint(model.network) == before
    assert flags == [layer.trainable for layer in model.network.layers]
    assert len(model.trainable_weights) == 2
    for theta, old in zip(model.trainable_weights, start, strict=True):
        assert np.abs(theta - old).max() > 1e-4


def test_the_loss_is_as_documented():
    model, data = switched(Dirichlet(), kl_weight=0.3)
    model.compile(keras.optimizers.SGD(0.0))
    logs = model.train_step((tf.constant(data.x_train), tf.constant(data.y_train)))
    log_p = tf.nn.log_softmax(model(data.x_train)).numpy()
    loss = -log_p[np.arange(40), data.y_train].mean()
    kl = sum(float(model.law.kl(tf.constant(model.law.start(n)))) for n in (9, 7))
    assert np.isclose(logs["cross_entropy"], loss)
    assert np.isclose(logs["kl"], kl)
    assert np.isclose(logs["loss"], loss + 0.3 * kl)


def useful_units():
    """Two of five units tell the class; the others are read by nobody."""
    model = keras.Sequential([
        keras.layers.Dense(5, input_shape=(2,), name="hidden"),
        keras.layers.Dense(2, name="logits"),
    ])
    hidden = np.zeros((2, 5), "f4")
    hidden[:, 1] = hidden[:, 3] = [10, -10]
    readout = np.zeros((5, 2), "f4")
    readout[1] = readout[3] = [1, -1]
    model.set_weights([hidden, np.zeros(5, "f4"), readout, np.zeros(2, "f4")])
    data = cases.dataset(model, 60)
    data.y_train[:] = data.x_train.argmax(axis=1)
    return model, data


@pytest.mark.parametrize(
    ("name", "options", "draws"),
    [
        ("dirichlet", {}, 1),
        ("dirichlet", {"kind": "integral"}, 4),
        ("generalised_dirichlet", {}, 4),
        ("generalised_dirichlet", {"kind": "point"}, 1),
        ("softmax_switch", {}, 1),
    ],
)
def test_useful_units_win(name, options, draws):
    model, data = useful_units()
    options = {"steps": 60, "batch_size": 30, "learning_rate": 0.1, **options}
    score = score_units(model, name, data, **options)["hidden"]
    assert set(np.argsort(score.values)[-2:]) == {1, 3}
    assert np.isclose(score.values.sum(), 1)
    assert score.price.forward == score.price.backward == 60 * 30 * draws
    again = score_units(model, name, data, **options)["hidden"]
    assert np.array_equal(score.values, again.values)


def test_seed_and_other_groups():
    network = cases.randomise(cases.plain())
    groups, data = find_groups(network), cases.dataset(network)

    def learn(groups, **options):
        options = {"steps": 5, "batch_size": 16, **options}
        return learn_switches(network, groups, data, Dirichlet(2), **options)

    one_by_one = learn(groups[:2])
    alone, other = learn(groups[1:2]), learn(groups[1:2], seed=1)
    together = learn(groups[:2], jointly=True)
    name = groups[1].name
    theta = one_by_one[name].theta
    assert np.array_equal(theta, alone[name].theta)
    assert not np.array_equal(theta, other[name].theta)
    assert not np.array_equal(theta, together[name].theta)
    # 40 examples: batches of 16, 16 and 8, then 16 and 16; two draws each.
    assert [p.examples for p in one_by_one.values()] == [144, 144]
    assert [p.examples for p in together.values()] == [72, 72]


def test_covariance_beside_the_sampled_one():
    network, data = useful_units()
    groups = find_groups(network)
    for law in (Dirichlet(), GeneralisedDirichlet(2), Softmax()):
        found = learn_switches(network, groups, data, law, steps=5)["hidden"]
        assert np.allclose(found.covariance(), found.sampled_covariance(), atol=0.01)
        assert found.mean().dtype == np.float64


def test_refusals():
    network, data = useful_units()
    for option in ("steps", "batch_size", "learning_rate"):
        with pytest.raises(ValueError, match=f"{option}: got 0, expected a positive"):
            score_units(network, "dirichlet", data, **{option: 0})
    with pytest.raises(ValueError, match="kl_weight: got -1"):
        score_units(network, "dirichlet", data, kl_weight=-1)
    with pytest.raises(ValueError, match="kind: got 'mean', expected 'point' or"):
        score_units(network, "dirichlet", data, kind="mean")
    with pytest.raises(ValueError, match="samples: got 0, expected a positive"):
        score_units(network, "generalised_dirichlet", data, samples=0)
    data.x_train[0] = np.nan
    with pytest.raises(DivergedError, match="became nan"):
        learn_switches(network, find_groups(network), data, Dirichlet(), steps=3)
