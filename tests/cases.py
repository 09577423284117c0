"""Small networks that between them hold every pattern the pruning wing understands."""

from __future__ import annotations

import numpy as np
import tf_keras as keras

from data.arrays import ArrayDataset

layers = keras.layers


def plain() -> keras.Model:
    """The sweep's network in small: no biases, fused activations."""
    x = inputs = keras.Input((4, 4, 1), name="images")
    x = layers.Flatten(name="flatten")(x)
    for i, width in enumerate((12, 10, 8), start=1):
        x = layers.Dense(width, "relu", use_bias=False, name=f"hidden_{i}")(x)
    x = layers.Dense(3, use_bias=False, name="logits")(x)
    return keras.Model(inputs, x, name="plain")


def normalised() -> keras.Model:
    """Cut units would revive: biases, BatchNormalization, sigmoid(0) = 0.5."""
    x = inputs = keras.Input((6,), name="features")
    x = layers.Rescaling(2.0, offset=-1.0, name="scale")(x)
    for i, width in enumerate((9, 7), start=1):
        x = layers.Dense(width, kernel_regularizer="l2", name=f"hidden_{i}")(x)
        x = layers.BatchNormalization(name=f"norm_{i}")(x)
        x = layers.Activation("sigmoid", name=f"sigmoid_{i}")(x)
        x = layers.Dropout(0.3, name=f"dropout_{i}")(x)
    x = layers.Dense(4, bias_regularizer="l1", name="logits")(x)
    return keras.Model(inputs, x, name="normalised")


def activations() -> keras.Model:
    """Activation layers with and without weights, a softmax at the end."""
    x = inputs = keras.Input((5,), name="features")
    for name, layer in {
        "relu": layers.ReLU(max_value=2.0),
        "leaky": layers.LeakyReLU(),
        "elu": layers.ELU(),
        "prelu": layers.PReLU(alpha_initializer="uniform"),
        "tanh": layers.Activation("tanh"),
    }.items():
        x = layer(layers.Dense(6, name=f"before_{name}")(x))
    x = layers.Dense(3, name="logits")(x)
    x = layers.Softmax(name="probabilities")(x)
    return keras.Model(inputs, x, name="activations")


def sequential() -> keras.Model:
    """A Sequential whose first layer brings the input shape."""
    return keras.Sequential(
        [
            layers.Dense(8, "softplus", input_shape=(5,), name="hidden_1"),
            layers.GaussianNoise(0.1, name="noise"),
            layers.Dense(6, "gelu", name="hidden_2"),
            layers.Dense(3, name="logits"),
        ],
        name="sequential",
    )


def flatten() -> keras.Model:
    """Dense on [h, w, c], flattened between units and their consumer."""
    x = inputs = keras.Input((3, 2, 4), name="images")
    x = layers.Dense(5, "sigmoid", name="hidden_1")(x)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(7, "relu", name="hidden_2")(x)
    x = layers.Dense(3, name="logits")(x)
    return keras.Model(inputs, x, name="flatten")


def nested() -> keras.Model:
    """Models in models, one of them called twice, and a layer shared in a chain."""
    x = inner_input = keras.Input((6,), name="inner_input")
    x = layers.Dense(6, "sigmoid", name="hidden")(layers.ReLU(name="relu")(x))
    x = layers.BatchNormalization(name="norm")(x)
    inner = keras.Model(inner_input, x, name="inner")
    tail = keras.Sequential(
        [layers.Dense(5, "elu", name="hidden"), layers.Dropout(0.2)], name="tail"
    )
    inputs = keras.Input((4,), name="features")
    x = layers.Dense(6, "sigmoid", name="hidden_1")(inputs)
    x = inner(inner(x), training=False)
    shared = layers.Dense(6, "tanh", name="shared")
    x = tail(shared(shared(x)))
    x = layers.Dense(3, name="logits")(x)
    return keras.Model(inputs, x, name="nested")


CASES = {
    build.__name__: build
    for build in (plain, normalised, activations, sequential, flatten, nested)
}


def randomise(model: keras.Model, seed: int = 0) -> keras.Model:
    """Sets every weight at random, biases and moving statistics too."""
    generator = np.random.default_rng(seed)
    for weight in model.weights:
        scale = 1 / np.sqrt(max(weight.shape[0], 1))
        value = generator.normal(0, scale, weight.shape)
        if "variance" in weight.name or "gamma" in weight.name:
            value = generator.uniform(0.5, 2, weight.shape)
        weight.assign(value)
    return model


def examples(model: keras.Model, n: int = 16, seed: int = 0) -> np.ndarray:
    """Draws inputs in [0, 1]."""
    shape = (n, *model.input_shape[1:])
    return np.random.default_rng(seed).random(shape, dtype=np.float32)


def random_masks(groups: list, seed: int = 0) -> dict[str, np.ndarray]:
    """Draws unit masks, each keeping at least one unit."""
    generator = np.random.default_rng(seed)
    masks = {}
    for group in groups:
        masks[group.name] = generator.random(group.n_units) < 0.5
        masks[group.name][generator.integers(group.n_units)] = True
    return masks


def dataset(model: keras.Model, n: int = 40, seed: int = 0) -> ArrayDataset:
    """A tiny dataset that a model can read; valid and test break whoever reads them."""
    generator = np.random.default_rng(seed)
    images = examples(model, n, seed)
    labels = generator.integers(0, model.output_shape[-1], n)
    forbidden = np.full_like(images[:2], np.nan), np.zeros(2, np.int64)
    return ArrayDataset(
        "tiny",
        {"train": (images, labels), "valid": forbidden, "test": forbidden},
        num_classes=model.output_shape[-1],
    )
