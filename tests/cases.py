"""Small networks that between them hold every pattern the pruning wing understands."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras

from data.arrays import ArrayDataset

layers = keras.layers


@contextmanager
def precision(policy: str) -> Generator[None, None, None]:
    """Makes layers compute by a policy, and leaves none behind.

    A policy that is set, float32 too, would outweigh floatx in the tests to come.
    """
    keras.mixed_precision.set_global_policy(policy)
    try:
        yield
    finally:
        keras.mixed_precision.set_global_policy(None)


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


def convolutions() -> keras.Model:
    """LeNet's pattern: pool, ReLU, BatchNormalization, flatten, linear Dense."""
    x = inputs = keras.Input((12, 12, 1), name="images")
    for name, width in (("c1", 5), ("c3", 6)):
        x = layers.Conv2D(width, 3, name=name)(x)
        x = layers.MaxPooling2D(name=f"{name}_pool")(x)
        x = layers.ReLU(name=f"{name}_relu")(x)
        x = layers.BatchNormalization(name=f"{name}_norm")(x)
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(7, name="c5")(x)
    x = layers.Dense(3, name="logits")(x)
    return keras.Model(inputs, x, name="convolutions")


def _normalised_conv(x, width, name, **options):
    x = layers.Conv2D(width, 3, padding="same", name=name, **options)(x)
    return layers.BatchNormalization(name=f"{name}_norm")(x)


def residual() -> keras.Model:
    """Blocks whose sums tie layers together, one with a projection, one padded."""
    inputs = keras.Input((8, 8, 3), name="images")
    x = layers.ReLU()(_normalised_conv(inputs, 6, "stem"))
    y = layers.ReLU()(_normalised_conv(x, 5, "block_1a"))
    x = layers.ReLU()(layers.Add()([x, _normalised_conv(y, 6, "block_1b")]))
    y = layers.ReLU()(_normalised_conv(x, 4, "block_2a", strides=2))
    y = _normalised_conv(y, 8, "block_2b")
    x = layers.Add()([layers.Conv2D(8, 1, strides=2, name="project")(x), y])
    y = _normalised_conv(layers.ReLU()(x), 12, "block_3", strides=2)
    x = tf.pad(x[:, ::2, ::2], [[0, 0], [0, 0], [0, 0], [2, 2]])
    x = tf.nn.relu(x + y)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(3, name="logits")(x), name="residual")


def dense_block() -> keras.Model:
    """Concatenations, whose consumers read several groups at their offsets."""
    x = inputs = keras.Input((6, 6, 2), name="images")
    x = layers.Conv2D(4, 3, padding="same", name="stem")(x)
    for i in range(2):
        y = layers.BatchNormalization(name=f"norm_{i}")(x)
        y = layers.Conv2D(3, 3, padding="same", name=f"grow_{i}")(layers.ReLU()(y))
        x = layers.Concatenate(name=f"join_{i}")([x, y])
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.AveragePooling2D(name="pool")(layers.UpSampling2D(name="up")(x))
    z = layers.Conv2D(10, 1, name="beside")(inputs)
    x = layers.Flatten(name="flatten")(layers.Add(name="sum")([x, z]))
    return keras.Model(inputs, layers.Dense(3, name="logits")(x), name="dense_block")


def mobile() -> keras.Model:
    """Depthwise with a multiplier, separable, squeeze-and-excite, hard swish."""
    x = inputs = keras.Input((8, 8, 3), name="images")
    x = layers.ZeroPadding2D(name="pad")(layers.Conv2D(4, 1, name="expand")(x))
    x = layers.DepthwiseConv2D(3, depth_multiplier=2, name="depthwise")(x)
    x = layers.BatchNormalization(name="norm")(x)
    x = x * tf.nn.relu6(x + 3.0) * (1 / 6)
    y = layers.GlobalAveragePooling2D(name="squeeze")(x)
    y = layers.Reshape((1, 1, 8), name="reshape")(y)
    y = layers.Conv2D(3, 1, activation="relu", name="reduce")(y)
    y = layers.Conv2D(8, 1, activation="sigmoid", name="excite")(y)
    x = layers.Multiply(name="scale")([x, y])
    x = layers.SeparableConv2D(6, 3, depth_multiplier=2, name="separable")(x)
    x = layers.PReLU(shared_axes=[1, 2], alpha_initializer="uniform", name="prelu")(x)
    x = tf.reduce_mean(x, axis=[1, 2])
    return keras.Model(inputs, layers.Dense(3, name="logits")(x), name="mobile")


def grouped() -> keras.Model:
    """Grouped and transposed convolutions, and cropping between them."""
    x = inputs = keras.Input((6, 6, 2), name="images")
    x = layers.Conv2D(6, 3, padding="same", activation="relu", name="first")(x)
    x = layers.Conv2D(8, 3, padding="same", groups=2, name="grouped")(x)
    x = layers.Conv2DTranspose(5, 3, strides=2, activation="elu", name="up")(x)
    x = layers.Cropping2D(2, name="crop")(x)
    x = layers.Conv2D(4, 3, name="last")(x)
    x = layers.GlobalMaxPooling2D(name="pool")(x)
    return keras.Model(inputs, layers.Dense(3, name="logits")(x), name="grouped")


def volumes() -> keras.Model:
    """Three dimensions, then one: reshapes that keep the channels."""
    x = inputs = keras.Input((4, 4, 4, 2), name="volumes")
    x = layers.Conv3D(5, 2, activation="relu", name="conv3")(x)
    x = layers.Conv3DTranspose(4, 2, name="back3")(x)
    x = layers.MaxPooling3D(name="pool3")(x)
    x = layers.Reshape((-1, 4), name="row")(x)
    x = layers.Conv1D(6, 2, activation="tanh", name="conv1")(x)
    x = layers.DepthwiseConv1D(2, name="depthwise1")(x)
    x = layers.Conv1DTranspose(3, 2, name="back1")(x)
    x = layers.SeparableConv1D(4, 2, name="separable1")(x)
    x = tf.reshape(x, [-1, 24])
    return keras.Model(inputs, layers.Dense(3, name="logits")(x), name="volumes")


def ends() -> keras.Model:
    """Two inputs, two outputs, and merges of every kind."""
    one = keras.Input((4, 4, 2), name="one")
    other = keras.Input((4, 4, 3), name="other")
    shared = layers.Conv2D(5, 2, padding="same", activation="relu", name="shared")
    a = shared(layers.Conv2D(3, 1, name="a")(one))
    b = shared(other)
    c = layers.Conv2D(5, 1, name="c")(other)
    x = layers.Maximum()([a, layers.Subtract()([b, c])])
    x = layers.Average()([x, layers.Minimum()([a, c])])
    attention = layers.Conv2D(1, 1, activation="sigmoid", name="attention")(x)
    x = layers.Multiply()([x, attention])
    x = layers.Permute((2, 1, 3))(layers.Concatenate(axis=1)([x, c]))
    first = layers.Dense(3, name="logits")(layers.GlobalAveragePooling2D()(x))
    second = layers.Conv2D(2, 1, name="map")(x)
    return keras.Model([one, other], [first, second], name="ends")


CASES = {
    build.__name__: build
    for build in (
        *(plain, normalised, activations, sequential, flatten, nested),
        *(convolutions, residual, dense_block, mobile, grouped, volumes, ends),
    )
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


def examples(model: keras.Model, n: int = 16, seed: int = 0) -> Any:
    """Draws inputs in [0, 1], in the structure of the model's inputs."""
    generator = np.random.default_rng(seed)
    drawn = [
        generator.random((n, *symbolic.shape[1:]), dtype=np.float32).astype(
            symbolic.dtype.as_numpy_dtype
        )
        for symbolic in model.inputs
    ]
    return tf.nest.pack_sequence_as(model._nested_inputs, drawn)


def edge_masks(groups: list, kept: int, last: bool = False) -> dict[str, np.ndarray]:
    """Keeps the first (or last) units of each group, and of each of its layers."""
    masks = {}
    for group in groups:
        mask = np.zeros(group.n_units, bool)
        for part in (np.ones(group.n_units, bool), *group.parts()):
            places = np.flatnonzero(part)
            mask[places[-kept:] if last else places[:kept]] = True
        masks[group.name] = mask
    return masks


def flat(outputs: Any) -> np.ndarray:
    """Lays all outputs of a model in one row an example."""
    parts = [np.asarray(x) for x in tf.nest.flatten(outputs)]
    return np.concatenate([x.reshape(len(x), -1) for x in parts], axis=1)


def rows(inputs: Any, chosen: slice) -> Any:
    """Takes some examples of every input."""
    return tf.nest.map_structure(lambda x: x[chosen], inputs)


def random_masks(groups: list, seed: int = 0) -> dict[str, np.ndarray]:
    """Draws unit masks, each keeping at least one unit."""
    generator = np.random.default_rng(seed)
    masks = {}
    for group in groups:
        masks[group.name] = generator.random(group.n_units) < 0.5
        masks[group.name][generator.integers(group.n_units)] = True
        for part in group.parts():
            masks[group.name][generator.choice(np.flatnonzero(part))] = True
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
