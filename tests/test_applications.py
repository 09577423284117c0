"""tf_keras.applications as networks of ours: same outputs, pixels in [0, 1]."""

from __future__ import annotations

import numpy as np
import pytest
import tf_keras as keras

import models
from models import applications
from network_pruning.pruning.units import find_groups

SHAPE = (64, 64, 3)
MODULES = {
    "VGG16": keras.applications.vgg16,
    "MobileNetV2": keras.applications.mobilenet_v2,
    "DenseNet121": keras.applications.densenet,
    "MobileNetV3Small": keras.applications.mobilenet_v3,
}


def inner(model):
    return next(layer for layer in model.layers if isinstance(layer, keras.Model))


@pytest.mark.parametrize("name", ["MobileNetV2", "MobileNetV3Small"])
def test_pixels_are_what_the_application_was_trained_on(name):
    compare(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["VGG16", "DenseNet121"])
def test_pixels_are_what_larger_ones_were_trained_on(name):
    compare(name)


def compare(name):
    keras.utils.set_random_seed(0)
    model = models.build(name, SHAPE, 7)
    core = inner(model)
    bytes_ = np.random.default_rng(0).integers(0, 256, (2, *SHAPE)).astype("f4")
    expected_core = keras.models.clone_model(core)
    weights = core.get_weights()
    if applications.MODES[name] == "caffe":
        weights[0] = weights[0][:, :, ::-1]
    expected_core.set_weights(weights)
    fed = MODULES[name].preprocess_input(bytes_.copy())
    expected = expected_core(fed).numpy()
    got = model(bytes_ / 255).numpy()
    assert got.shape == (2, 7)
    assert np.abs(got - expected).max() <= 1e-3 * np.abs(expected).max()
    assert np.abs(expected.sum(axis=1) - 1).min() > 1e-3  # logits


def test_units_inside_are_found():
    groups = find_groups(models.build("MobileNetV2", SHAPE, 7))
    assert len(groups) == 25
    assert groups[0].name == "mobilenetv2_1.00_64/Conv1"


def test_weights_that_cannot_be_had(monkeypatch):
    def fail(**options):
        raise Exception("URL fetch failure on https://...: None")

    monkeypatch.setattr(keras.applications, "MobileNetV2", fail)
    with pytest.raises(ValueError, match="not in ~/.keras/models and cannot be down"):
        models.build("MobileNetV2", SHAPE, 7, pretrained=True)


def test_a_new_end_on_pretrained_weights(monkeypatch):
    asked = []
    make = keras.applications.MobileNetV2

    def without_download(**options):
        asked.append(options.pop("weights"))
        return make(weights=None, **options)

    monkeypatch.setattr(keras.applications, "MobileNetV2", without_download)
    model = models.build("MobileNetV2", SHAPE, 7, pretrained=True)
    assert asked == ["imagenet"]
    assert model.layers[-1].name == "logits"
    assert model.output_shape == (None, 7)


def test_images_and_options_that_do_not_fit():
    with pytest.raises(ValueError, match="model MobileNetV2: .*at least"):
        models.build("MobileNetV2", (8, 8, 3), 7)
    with pytest.raises(ValueError, match="got 'widths', expected one of pretrained"):
        models.check_options("MobileNetV2", ["widths"])
