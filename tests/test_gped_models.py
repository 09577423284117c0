"""The networks of posterior expectation distillation, as published."""

import numpy as np
import pytest

import models
import network_pruning as npr

MNIST, CIFAR = (28, 28, 1), (32, 32, 3)
K = ("multiplication_factor_1", "multiplication_factor_2")


@pytest.mark.parametrize(
    ("name", "shape", "options", "params"),
    [
        ("gped_fc", MNIST, {}, 478_410),
        ("gped_fc", MNIST, {"widths": (2000, 2000)}, 5_592_010),
        ("gped_cnn_mnist", MNIST, {}, 29_880),
        ("gped_cnn_mnist", MNIST, dict.fromkeys(K, 3), 262_420),
        ("gped_cnn_cifar", CIFAR, {}, 184_808),
    ],
)
def test_published_counts(name, shape, options, params):
    network = models.build(name, shape, 10, **options)
    assert network.count_params() == params


@pytest.mark.parametrize(
    ("name", "shape", "macs"),
    [("gped_cnn_mnist", MNIST, 385_600), ("gped_cnn_cifar", CIFAR, 2_391_300)],
)
def test_published_macs(name, shape, macs):
    assert npr.cost_card(models.build(name, shape, 10)).macs == macs


def test_factors_are_rounded_down_but_for_dust():
    network = models.build("gped_cnn_cifar", CIFAR, 10, **{K[0]: 0.29, K[1]: 1.1})
    widths = [layer.weights[1].shape[0] for layer in network.layers if layer.weights]
    assert widths == [4, 9, 220, 55, 10]
    with pytest.raises(ValueError, match="multiplication factor: got 0.01, expected"):
        models.build("gped_cnn_mnist", MNIST, 10, **{K[0]: 0.01})


@pytest.mark.parametrize(
    ("head", "outputs"),
    [("softmax", 10), ("entropy", 1), ("both", 11), ("variance", 10)],
)
def test_heads(head, outputs):
    for name in ("gped_fc", "gped_cnn_mnist"):
        network = models.build(name, MNIST, 10, head=head)
        assert network.output_shape == (None, outputs)
    with pytest.raises(ValueError, match="head: got 'mean', expected one of softmax"):
        models.build("gped_fc", MNIST, 10, head="mean")


def test_weights_start_as_in_pytorch():
    for name, fans in (("gped_fc", (784, 400, 400)), ("gped_cnn_mnist", (16, 160))):
        network = models.build(name, MNIST, 10)
        layers = [layer for layer in network.layers if layer.weights]
        for layer, fan in zip(layers, fans, strict=False):
            kernel, bias = layer.get_weights()
            assert np.abs(kernel).max() <= fan**-0.5 > np.abs(bias).max() > 0
            expected = fan**-0.5 / np.sqrt(3)
            assert kernel.std() == pytest.approx(expected, rel=0.15)


def test_dropout_is_where_it_was():
    def dropped(name, shape):
        network = models.build(name, shape, 10, dropout=0.3)
        return [layer.name for layer in network.layers if hasattr(layer, "rate")]

    assert dropped("gped_fc", MNIST) == ["drop_1"]
    expected = ["drop_conv_1", "drop_conv_2", "drop_1"]
    assert dropped("gped_cnn_mnist", MNIST) == expected
    assert dropped("gped_cnn_cifar", CIFAR) == [*expected, "drop_2"]
