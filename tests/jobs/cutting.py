"""Small networks to rank and cut, and slow twins of what they give."""

import numpy as np
import tf_keras as keras

SHAPE = (8, 8, 1)
CONV = ("--dataset=uci_digits", "--image_size=8,8")
"""Flags of the images that the small network takes."""


def make_conv(classes=10):
    """A network of two groups, c1 (6 units) and f2 (8)."""
    keras.utils.set_random_seed(0)
    layers = keras.layers
    x = inputs = keras.Input(SHAPE)
    x = layers.Conv2D(6, 3, strides=2, activation="relu", name="c1")(x)
    x = layers.Flatten(name="flat")(x)
    x = layers.Dense(8, activation="relu", name="f2")(x)
    return keras.Model(inputs, layers.Dense(classes, name="logits")(x), name="small")


def relu(x):
    return np.maximum(x, 0)


def slow_logits(network, images):
    """The logits of a small network, or of an mlp without biases, in plain numpy."""
    weights = [weight.astype(np.float64) for weight in network.get_weights()]
    x = images.astype(np.float64)
    if weights[0].ndim == 4:
        kernel, bias, *dense = weights
        windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), (1, 2))
        x = np.einsum("nyxchw,hwcu->nyxu", windows[:, ::2, ::2], kernel) + bias
        x = relu(x).reshape(len(x), -1)
        x = relu(x @ dense[0] + dense[1])
        return x @ dense[2] + dense[3]
    x = x.reshape(len(x), -1)
    for kernel in weights[:-1]:
        x = relu(x @ kernel)
    return x @ weights[-1]


def slow_accuracy(network, data, split="test"):
    images, labels = getattr(data, f"x_{split}"), getattr(data, f"y_{split}")
    return np.mean(slow_logits(network, images).argmax(axis=1) == labels)


def masked(network, masks):
    """A copy whose removed units give zero, outgoing weights erased, in plain numpy."""
    copy = keras.models.clone_model(network)
    copy.set_weights(network.get_weights())
    for name, mask in masks.items():
        layer = copy.get_layer(name)
        layer.set_weights([w * mask.astype(w.dtype) for w in layer.get_weights()])
    return copy


def widths(network):
    """Units of each layer with a kernel, the last one left out."""
    layers = [layer for layer in network.layers if layer.weights]
    return [layer.weights[0].shape[-1] for layer in layers[:-1]]
