"""The networks of parsimonious training: sizes, starts, the mean image inside."""

import numpy as np
import pytest
import tf_keras as keras

import models
import network_pruning as npr
from network_pruning.evaluation.cost import count_params
from network_pruning.evaluation.macs import count_macs
from network_pruning.graph import fingerprint

CIFAR, MNIST = (32, 32, 3), (28, 28, 1)


@pytest.mark.parametrize(
    ("name", "shape", "classes", "params"),
    [
        ("quick", CIFAR, 10, 145_578),
        ("quick", CIFAR, 100, 151_428),
        ("quick_student", CIFAR, 10, 61_562),
        # 5 * 5 * 2 * 32 fewer weights, the same 4x4 places.
        ("quick", MNIST, 10, 143_978),
    ],
)
def test_parameters(name, shape, classes, params):
    network = models.build(name, shape, classes)
    assert count_params(network) == params
    assert network(np.zeros((2, *shape), np.float32)).shape == (2, classes)


def test_multiply_accumulates_are_the_published():
    assert count_macs(models.build("quick", CIFAR, 10)) == pytest.approx(
        12.35e6, rel=1e-3
    )


def test_pixels_are_centred_inside_the_model(tmp_path):
    rng = np.random.default_rng(0)
    mean = rng.random(MNIST, np.float32)
    images = rng.random((3, *MNIST), np.float32)
    keras.utils.set_random_seed(1)
    centred = models.build("quick", MNIST, 10, mean=mean)
    plain = models.build("quick", MNIST, 10)
    plain.set_weights(centred.get_weights()[-len(plain.weights) :])
    expected = plain(images - mean)
    np.testing.assert_allclose(centred(images), expected, atol=1e-5)
    centred.save(tmp_path / "centred.keras")
    again = keras.models.load_model(tmp_path / "centred.keras")
    np.testing.assert_allclose(again(images), expected, atol=1e-5)
    assert count_params(centred) == count_params(plain)
    other = models.build("quick", MNIST, 10, mean=0 * mean)
    other.set_weights(centred.get_weights())
    assert fingerprint(other) != fingerprint(centred)
    with pytest.raises(ValueError, match=r"mean: got an image .*\[2, 2\], expected"):
        models.build("quick", MNIST, 10, mean=np.zeros((2, 2)))


def test_a_centred_network_is_cut_like_any_other():
    mean = np.full(MNIST, 0.3, np.float32)
    network = models.build("quick", MNIST, 10, mean=mean)
    masks = npr.keep_units(npr.score_units(network, "l1"), sparsity=0.5)
    small = npr.shrink(network, masks)
    images = np.random.default_rng(0).random((8, *MNIST), np.float32)
    npr.certify(network, masks, small, images).require()
    assert small.get_layer("conv3").filters == 32


@pytest.mark.parametrize(("conv_sd", "name"), [(0.01, "conv2"), (0.1, "conv3")])
def test_original_weights_are_the_papers(conv_sd, name):
    network = models.build("quick", CIFAR, 10, init="original", conv_sd=conv_sd)
    for layer, sd in ((name, conv_sd), ("fc1", 0.1)):
        kernel, biases = network.get_layer(layer).get_weights()
        assert np.abs(kernel).max() <= 2 * sd
        assert kernel.std() == pytest.approx(0.8796 * sd, rel=0.02)
        assert not biases.any()


def test_sound_weights_are_hes_and_glorots():
    network = models.build("quick", CIFAR, 10)
    kernel = network.get_layer("conv3").get_weights()[0]
    assert kernel.std() == pytest.approx(np.sqrt(2 / 800), rel=0.02)
    kernel = network.get_layer("fc1").get_weights()[0]
    assert kernel.std() == pytest.approx(np.sqrt(2 / (1024 + 64)), rel=0.02)


def test_options_change_the_dense_layers():
    network = models.build("quick", MNIST, 10, fc_activation="relu", dropout=0.5)
    assert network.get_layer("fc1").activation is keras.activations.relu
    assert [network.get_layer(f"drop{i}").rate for i in (1, 2)] == [0.5, 0.5]
    with pytest.raises(ValueError, match="dropout: got 1.0, expected a rate"):
        models.build("quick", MNIST, 10, dropout=1.0)
