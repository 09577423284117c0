"""Networks by name."""

import numpy as np
import pytest
import tf_keras as keras

import models

IMAGE = (28, 28, 1)


def test_the_mlp_is_the_published_one():
    network = models.build("mlp", IMAGE, 10)
    assert network.count_params() == 2_386_000
    dense = [layer for layer in network.layers if layer.weights]
    assert [layer.name for layer in dense] == [
        "hidden_1",
        "hidden_2",
        "hidden_3",
        "hidden_4",
        "logits",
    ]
    assert [layer.units for layer in dense] == [1000, 1000, 500, 200, 10]
    assert all(len(layer.weights) == 1 for layer in dense)
    assert [layer.activation.__name__ for layer in dense] == [*["relu"] * 4, "linear"]
    assert network.losses == []


def test_kernels_start_glorot_uniform():
    kernel = models.build("mlp", IMAGE, 10).get_layer("hidden_1").kernel.numpy()
    limit = np.sqrt(6 / (784 + 1000))
    assert np.abs(kernel).max() <= limit
    assert kernel.std() == pytest.approx(limit / np.sqrt(3), rel=0.01)
    assert abs(kernel.mean()) < 1e-3


def test_outputs_are_logits_of_the_plain_product():
    network = models.build("mlp", (2, 3, 1), 4, widths=(5,))
    images = np.random.default_rng(0).random((7, 2, 3, 1), np.float32)
    first, last = (weight.numpy() for weight in network.weights)
    expected = np.maximum(images.reshape(7, 6) @ first, 0) @ last
    np.testing.assert_allclose(network(images), expected, atol=1e-6)


def test_every_option_of_the_mlp():
    network = models.build(
        "mlp",
        (4, 4, 3),
        5,
        widths=(6, 7),
        use_bias=True,
        activation="tanh",
        batch_norm=True,
        dropout=0.25,
    )
    assert [layer.name for layer in network.layers[2:]] == [
        "hidden_1",
        "norm_1",
        "tanh_1",
        "dropout_1",
        "hidden_2",
        "norm_2",
        "tanh_2",
        "dropout_2",
        "logits",
    ]
    assert network.get_layer("hidden_1").kernel.shape == (48, 6)
    assert network.get_layer("hidden_1").activation is keras.activations.linear
    assert network.get_layer("tanh_1").activation is keras.activations.tanh
    assert network.get_layer("dropout_2").rate == 0.25
    biases = [layer.use_bias for layer in network.layers if hasattr(layer, "use_bias")]
    assert biases == [True, True, True]


def test_without_batch_norm_the_activation_is_fused():
    network = models.build("mlp", (4,), 3, widths=(6,), activation="gelu", dropout=0.1)
    names = [layer.name for layer in network.layers]
    assert names == ["images", "flatten", "hidden_1", "dropout_1", "logits"]
    assert network.get_layer("hidden_1").activation is keras.activations.gelu


@pytest.mark.parametrize(("l1", "l2"), [(1e-3, 0.0), (0.0, 1e-2), (1e-3, 1e-2)])
def test_penalties_are_on_hidden_kernels_alone(l1, l2):
    options = {"widths": (6, 7), "use_bias": True, "l1": l1, "l2": l2}
    network = models.build("mlp", (4, 4, 1), 3, **options)
    for weight in network.weights:
        weight.assign(np.random.default_rng(1).normal(size=weight.shape))
    kernels = [network.get_layer(f"hidden_{i}").kernel.numpy() for i in (1, 2)]
    expected = sum(l1 * np.abs(w).sum() + l2 * (w**2).sum() for w in kernels)
    assert float(sum(network.losses)) == pytest.approx(expected, rel=1e-5)


def test_an_unknown_name_is_said_in_one_line():
    with pytest.raises(ValueError, match=r"got 'mpl', expected .*mlp.* mean 'mlp'\?$"):
        models.check("mpl")
    with pytest.raises(ValueError, match="got 'vgg', expected one of .*mlp"):
        models.build("vgg", IMAGE, 10)
    assert "mlp" in models.names()
