"""Criteria that read weights alone, against loops."""

from __future__ import annotations

import numpy as np
import pytest
import tf_keras as keras

from network_pruning.evaluation.macs import count_macs
from network_pruning.pruning.criteria import score_units
from network_pruning.pruning.units import find_groups
from tests import cases


def kernel(model, name):
    return model.get_layer(name).kernel.numpy().astype(float)


def test_scales_of_normalisation():
    model = cases.randomise(cases.normalised())
    model.get_layer("norm_1").gamma.assign([-3, 2, -1, 0, 1, 2, 3, 4, 5])
    scores = score_units(model, "batch_norm")
    assert scores["hidden_1"].values.tolist() == [3, 2, 1, 0, 1, 2, 3, 4, 5]
    gamma = model.get_layer("norm_2").gamma.numpy()
    assert np.array_equal(scores["hidden_2"].values, np.abs(gamma))


def test_the_first_scale_counts():
    layers = keras.layers
    model = keras.Sequential([
        layers.Dense(4, input_shape=(2,), name="hidden"),
        layers.BatchNormalization(scale=False),
        layers.BatchNormalization(name="first"),
        layers.PReLU(),
        layers.BatchNormalization(name="second"),
        layers.Dense(2),
    ])
    cases.randomise(model)
    gamma = model.get_layer("first").gamma.numpy()
    assert np.array_equal(score_units(model, "batch_norm")["hidden"].values, gamma)


def test_without_normalisation_the_group_is_named():
    model = cases.flatten()
    with pytest.raises(ValueError, match="7 of the 7 units of group 'hidden_2'"):
        score_units(model, "batch_norm")
    groups = find_groups(model)[:1]
    assert list(score_units(model, "batch_norm", groups=groups)) == ["hidden_1"]


def test_distances_to_the_other_units():
    model = cases.randomise(cases.plain())
    columns = kernel(model, "hidden_2").T
    expected = [sum(np.linalg.norm(a - b) for b in columns) for a in columns]
    values = score_units(model, "fpgm")["hidden_2"].values
    assert np.allclose(values, expected, rtol=1e-12)


def test_distances_over_all_producers():
    model = cases.randomise(cases.nested())
    parts = [kernel(model, "hidden_1"), kernel(model, "shared")]
    parts.append(kernel(model.get_layer("inner"), "hidden"))
    columns = np.concatenate(parts).T
    expected = [sum(np.linalg.norm(a - b) for b in columns) for a in columns]
    values = score_units(model, "fpgm")["hidden_1"].values
    assert np.allclose(values, expected, rtol=1e-12)


def test_twins_are_no_distance_apart():
    model = cases.plain()
    model.get_layer("hidden_3").kernel.assign(np.full((10, 8), 1e3))
    assert not score_units(model, "fpgm")["hidden_3"].values.any()


def test_a_synchronised_normalisation_gives_scales_and_costs_no_macs():
    layers = keras.layers
    x = inputs = keras.Input((6, 6, 1))
    x = layers.Conv2D(4, 3, name="conv")(x)
    x = layers.experimental.SyncBatchNormalization(name="norm")(x)
    x = layers.Dense(3, name="logits")(layers.GlobalAveragePooling2D()(x))
    model = keras.Model(inputs, x)
    model.get_layer("norm").gamma.assign([1.0, -3.0, 0.5, 2.0])
    scores = score_units(model, "batch_norm")["conv"]
    assert np.allclose(scores.values, [1, 3, 0.5, 2])
    assert count_macs(model) == 16 * 9 * 4 + 12
