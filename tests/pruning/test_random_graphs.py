"""Any graph of understood layers: gate equals shrink, and the certificate proves it."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from network_pruning.pruning.certificate import certify
from network_pruning.pruning.surgery import shrink
from network_pruning.pruning.units import find_groups
from tests import cases

layers = keras.layers
DEFAULT, ALL = 40, 300
ROUNDING = 1e-10
SIZE = 6
"""Height and width that every step keeps, so that any two tensors can be joined."""


class Grower:
    """Draws a graph: each step applies one layer to tensors drawn from those there are.

    All tensors are [n, SIZE, SIZE, channels].
    """

    def __init__(self, seed: int) -> None:
        self.draw = np.random.default_rng(seed)
        self.inputs = keras.Input((SIZE, SIZE, int(self.draw.integers(1, 4))))
        self.tensors = [self.conv(self.inputs)]
        self.modules: list[keras.layers.Layer] = []

    def width(self) -> int:
        return int(self.draw.integers(2, 9))

    def pick(self) -> tf.Tensor:
        return self.tensors[int(self.draw.integers(len(self.tensors)))]

    def conv(self, x: tf.Tensor) -> tf.Tensor:
        size = int(self.draw.choice([1, 3]))
        activation = str(self.draw.choice(["linear", "relu", "sigmoid", "tanh"]))
        bias = bool(self.draw.integers(2))
        return layers.Conv2D(
            self.width(), size, padding="same", activation=activation, use_bias=bias
        )(x)

    def dense(self, x: tf.Tensor) -> tf.Tensor:
        return layers.Dense(self.width(), "elu")(x)

    def separable(self, x: tf.Tensor) -> tf.Tensor:
        multiplier = int(self.draw.integers(1, 3))
        return layers.SeparableConv2D(
            self.width(), 3, padding="same", depth_multiplier=multiplier
        )(x)

    def depthwise(self, x: tf.Tensor) -> tf.Tensor:
        multiplier = int(self.draw.integers(1, 3))
        return layers.DepthwiseConv2D(3, padding="same", depth_multiplier=multiplier)(x)

    def transposed(self, x: tf.Tensor) -> tf.Tensor:
        return layers.Conv2DTranspose(self.width(), 3, padding="same")(x)

    def grouped(self, x: tf.Tensor) -> tf.Tensor:
        width = 2 * self.width()
        x = layers.Conv2D(2 * self.width(), 1)(x)
        return layers.Conv2D(width, 3, padding="same", groups=2)(x)

    def norm(self, x: tf.Tensor) -> tf.Tensor:
        return layers.BatchNormalization()(x)

    def activate(self, x: tf.Tensor) -> tf.Tensor:
        choices = (
            layers.ReLU(),
            layers.PReLU(shared_axes=[1, 2]),
            layers.Activation("softplus"),
            tf.nn.relu,
            lambda y: tf.nn.relu6(y + 1.0) * 0.5,
        )
        return choices[int(self.draw.integers(len(choices)))](x)

    def shuffle_space(self, x: tf.Tensor) -> tf.Tensor:
        choices = (
            lambda y: layers.ZeroPadding2D(1)(layers.Cropping2D(1)(y)),
            lambda y: layers.UpSampling2D(2)(layers.MaxPooling2D(2)(y)),
            layers.AveragePooling2D(3, strides=1, padding="same"),
            layers.Permute((2, 1, 3)),
            lambda y: layers.Reshape((SIZE, SIZE, y.shape[-1]))(layers.Flatten()(y)),
            lambda y: layers.Reshape((SIZE * SIZE, y.shape[-1]))(y),
        )
        y = choices[int(self.draw.integers(len(choices)))](x)
        if y.shape.rank == 3:
            y = layers.Reshape((SIZE, SIZE, x.shape[-1]))(layers.Dropout(0.2)(y))
        return y

    def join(self, x: tf.Tensor) -> tf.Tensor:
        other = self.pick()
        if x.shape[-1] != other.shape[-1] or self.draw.random() < 0.3:
            return layers.Concatenate()([x, other])
        merges = (layers.Add(), layers.Multiply(), layers.Maximum(), layers.Average())
        which = int(self.draw.integers(len(merges) + 1))
        return x + other if which == len(merges) else merges[which]([x, other])

    def residual(self, x: tf.Tensor) -> tf.Tensor:
        y = layers.Conv2D(x.shape[-1], 3, padding="same")(self.conv(x))
        return layers.Add()([x, self.norm(y)])

    def widened(self, x: tf.Tensor) -> tf.Tensor:
        y = layers.Conv2D(x.shape[-1] + 4, 1)(x)
        return y + tf.pad(x, [[0, 0], [0, 0], [0, 0], [1, 3]])

    def excite(self, x: tf.Tensor) -> tf.Tensor:
        y = layers.GlobalAveragePooling2D(keepdims=True)(x)
        y = layers.Conv2D(self.width(), 1, activation="relu")(y)
        y = layers.Conv2D(x.shape[-1], 1, activation="sigmoid")(y)
        return layers.Multiply()([x, y])

    def nested(self, x: tf.Tensor) -> tf.Tensor:
        inner = keras.Input(x.shape[1:])
        y = layers.Conv2D(x.shape[-1], 1, activation="sigmoid")(inner)
        block = keras.Model(inner, layers.BatchNormalization()(y))
        return block(block(x))

    def shared(self, x: tf.Tensor) -> tf.Tensor:
        layer = layers.Conv2D(x.shape[-1], 3, padding="same", activation="tanh")
        return layer(layer(x))

    def build(self) -> keras.Model:
        steps = (
            *(self.conv, self.conv, self.dense, self.separable, self.depthwise),
            *(self.transposed, self.grouped, self.norm, self.activate),
            *(self.shuffle_space, self.join, self.join, self.residual),
            *(self.widened, self.excite, self.nested, self.shared),
        )
        for _ in range(int(self.draw.integers(3, 9))):
            step = steps[int(self.draw.integers(len(steps)))]
            self.tensors.append(step(self.pick()))
        x = (
            layers.Concatenate()(self.tensors)
            if self.draw.integers(2)
            else self.join(self.tensors[-1])
        )
        ends = (layers.Flatten(), layers.GlobalAveragePooling2D())
        x = ends[int(self.draw.integers(2))](x)
        return keras.Model(self.inputs, layers.Dense(3)(x))


def slow(seeds):
    return [pytest.param(seed, marks=pytest.mark.slow) for seed in seeds]


@pytest.fixture
def double():
    """Double precision: products of random layers can cancel, and float32 with them."""
    with cases.precision("float64"):
        keras.backend.set_floatx("float64")
        yield
        keras.backend.set_floatx("float32")


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("seed", [*range(DEFAULT), *slow(range(DEFAULT, ALL))])
def test_gate_equals_shrink(seed):
    model = cases.randomise(Grower(seed).build(), seed)
    groups = find_groups(model)
    assert groups, "nothing to cut"
    assert len(groups.refused) == 1, groups.refused
    masks = cases.random_masks(groups, seed)
    small = shrink(model, masks)
    proof = certify(model, masks, small, cases.examples(model, 4, seed))
    assert proof.require().max_rel_diff <= ROUNDING
    assert small.count_params() < model.count_params() or all(
        mask.all() for mask in masks.values()
    )
