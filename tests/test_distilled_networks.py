"""The networks of data-free distillation: sizes, layers, how weights start."""

import numpy as np
import pytest
import tf_keras as keras

import models
from network_pruning.evaluation.cost import count_params

SMALL, LARGE = (32, 32, 1), (224, 224, 3)
MNIST = (28, 28, 1)

# Counted by hand, sum of (inputs + 1) * outputs of every layer; as published.
TABLE = [
    ("hinton1200", MNIST, 10, 2_395_210),
    ("hinton800", MNIST, 10, 1_276_810),
    ("lenet", SMALL, 10, 61_706),
    ("lenet_half", SMALL, 10, 35_820),
]
LARGE_TABLE = [
    ("alex", LARGE, 2, 71_380_930),
    ("alex_half", LARGE, 2, 17_855_458),
    ("vgg16", LARGE, 1000, 138_357_544),
    ("vgg19", LARGE, 1000, 143_667_240),
]


@pytest.mark.parametrize(("name", "shape", "classes", "params"), TABLE)
def test_parameters(name, shape, classes, params):
    network = models.build(name, shape, classes)
    assert count_params(network) == params
    assert network(np.zeros((2, *shape), np.float32)).shape == (2, classes)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "shape", "classes", "params"), LARGE_TABLE)
def test_parameters_of_the_large_ones(name, shape, classes, params):
    network = models.build(name, shape, classes)
    assert count_params(network) == params
    assert network(np.zeros((1, *shape), np.float32)).shape == (1, classes)


def test_the_teacher_drops_out_and_the_student_does_not():
    teacher, student = (models.build(f"hinton{n}", MNIST, 10) for n in (1200, 800))
    rates = {
        layer.name: layer.rate
        for layer in teacher.layers
        if isinstance(layer, keras.layers.Dropout)
    }
    assert rates == {"drop_images": 0.2, "drop_1": 0.5, "drop_2": 0.5}
    assert [layer.name for layer in student.layers[2:]] == [
        *("hidden_1", "hidden_2", "logits"),
    ]
    with pytest.raises(ValueError, match="dropout: .* expected none or 3 rates"):
        from models import hinton

        hinton.build(MNIST, 10, dropout=(0.5,))


@pytest.mark.parametrize(
    ("name", "shape", "sd", "bias"),
    [("hinton800", MNIST, 1.0, 0.1), ("lenet", SMALL, 0.1, 0.0)],
)
def test_original_weights_are_the_papers(name, shape, sd, bias):
    network = models.build(name, shape, 10, init="original")
    cut = 0.8796 * sd
    for layer in network.layers:
        if layer.weights:
            kernel, biases = layer.get_weights()
            assert np.abs(kernel).max() <= 2 * sd
            tolerance = 4 / np.sqrt(2 * kernel.size)
            assert kernel.std() == pytest.approx(cut, rel=tolerance)
            assert (biases == np.float32(bias)).all()


def test_he_weights_keep_the_variance():
    network = models.build("hinton1200", MNIST, 10)
    for layer in network.layers:
        if layer.weights:
            kernel, biases = layer.get_weights()
            assert kernel.std() == pytest.approx(np.sqrt(2 / len(kernel)), rel=0.03)
            assert not biases.any()


def test_alexnets_start_is_he_before_truncation():
    network = models.build("alex_half", (32, 32, 3), 2, init="original")
    kernel, biases = network.get_layer("c3").get_weights()
    assert kernel.std() == pytest.approx(0.8796 * np.sqrt(2 / (9 * 96)), rel=0.02)
    assert (biases == np.float32(0.01)).all()
    with pytest.raises(ValueError, match="init: got 'xavier', expected one of he"):
        models.build("lenet", SMALL, 10, init="xavier")
