"""Images at once, by arithmetic, and what networks then see of them."""

import numpy as np
import pytest
import tf_keras as keras

from network_pruning import chunks
from network_pruning.evaluation.clusters import read_layers
from network_pruning.evaluation.predict import predict_logits

layers = keras.layers


@pytest.mark.parametrize(
    ("most", "numbers", "expected"),
    [(2000, 100, 10), (7, 100, 7), (2000, 0, 1000), (2000, 10**6, 1)],
)
def test_images_fit_in_what_there_is(monkeypatch, most, numbers, expected):
    monkeypatch.setattr(chunks, "MOST_BYTES", 4000)
    assert chunks.fitting(most, numbers) == expected


def network_of(shape):
    inner = keras.Sequential([keras.Input((None, None, 3)), layers.Conv2D(5, 1)])
    x = inputs = keras.Input(shape)
    x = inner(layers.Conv2D(3, 3, name="conv")(x))
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(2)(x))


def test_the_widest_activation_may_lie_inside_a_nested_network():
    assert chunks.widest(network_of((8, 8, 1)), (8, 8, 1)) == 8 * 8 * 5
    narrow = keras.Sequential([keras.Input((8, 8, 3)), layers.Flatten()])
    assert chunks.widest(narrow, (8, 8, 3)) == 192


def test_open_sides_count_as_long_as_those_of_the_images():
    assert chunks.widest(network_of((None, None, 1)), (8, 9, 1)) == 9 * 9 * 5


def test_without_a_graph_it_is_an_estimate():
    class Own(keras.Model):
        def call(self, x):
            return x

    assert chunks.widest(Own(), (8, 8, 3)) == 64 * 64


def test_large_activations_go_in_small_parts(monkeypatch):
    network = network_of((8, 8, 1))
    images = np.random.default_rng(0).random((5, 8, 8, 1)).astype(np.float32)
    whole = predict_logits(network, images)
    taps = read_layers(network, images, ["conv"])
    seen, plain = [], network.call

    def call(x, **options):
        seen.append(len(x))
        return plain(x, **options)

    monkeypatch.setattr(network, "call", call)
    monkeypatch.setattr(chunks, "MOST_BYTES", 4 * 2 * 8 * 8 * 5)
    np.testing.assert_allclose(predict_logits(network, images), whole, atol=1e-6)
    assert seen == [2, 2, 1]
    again = read_layers(network, images, ["conv"])
    np.testing.assert_allclose(again["conv"], taps["conv"], atol=1e-6)
