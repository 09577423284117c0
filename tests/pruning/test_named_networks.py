"""Networks people cut: the project's own, and those of tf_keras.applications."""

from __future__ import annotations

import numpy as np
import pytest
import tf_keras as keras

import models
from network_pruning.pruning.certificate import certify
from network_pruning.pruning.layer_rules import RULES
from network_pruning.pruning.surgery import shrink
from network_pruning.pruning.units import find_groups
from tests import cases

CIFAR = (32, 32, 3)
SIZE = (96, 96, 3)
"""Of the applications' images: small, but no map shrinks to nothing."""

OWN = {"lenet5": ((28, 28, 1), 4), "resnet20": (CIFAR, 10)}
SLOW_OWN = {
    "vgg16_cifar": (CIFAR, 14),
    "resnet56": (CIFAR, 28),
    "wrn_28_10": (CIFAR, 16),
    "resnet50": ((64, 64, 3), 37),
}
APPLICATIONS = {
    **{"VGG16": 15, "ResNet50": 37, "MobileNetV2": 25, "DenseNet121": 120},
    **{"EfficientNetB0": 40, "MobileNetV3Small": 27, "Xception": 28},
    **{"InceptionV3": 94, "RegNetX002": 31},
}
"""Number of groups; Torch-Pruning finds 37 in ResNet-50 as well."""


def slow(names):
    return [pytest.param(name, marks=pytest.mark.slow) for name in names]


def live(model, seed=0):
    """Gives the normalisers of an untrained network statistics that mean something."""
    norms = [
        layer
        for layer in model.layers
        if RULES.get(type(layer)) is RULES[keras.layers.BatchNormalization]
    ]
    kept = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    model(cases.examples(model, 8), training=True)
    draw = np.random.default_rng(seed)
    for norm, momentum in zip(norms, kept, strict=True):
        norm.momentum = momentum
        for weight in norm.trainable_weights:
            weight.assign_add(draw.normal(0, 0.3, weight.shape).astype("f4"))
    return model


def cut_in_half(model, n_groups):
    groups = find_groups(model)
    assert len(groups) == n_groups
    assert len(groups.refused) == 1  # the output layer
    masks = cases.random_masks(groups)
    small = shrink(model, masks)
    certify(model, masks, small, cases.examples(model, 2)).require()
    assert small.count_params() < 0.5 * model.count_params()


@pytest.mark.parametrize("name", [*OWN, *slow(SLOW_OWN)])
def test_own_networks(name):
    shape, n_groups = {**OWN, **SLOW_OWN}[name]
    cut_in_half(live(models.build(name, shape, 10)), n_groups)


@pytest.mark.slow
@pytest.mark.parametrize("name", APPLICATIONS)
def test_applications(name):
    build = getattr(keras.applications, name)
    model = build(weights=None, input_shape=SIZE, classes=10)
    cut_in_half(live(model), APPLICATIONS[name])
