"""The model whose only variable is its input."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf
import tf_keras as keras

from network_pruning.graph import Call, leaf_layers
from network_pruning.inversion import objectives, signals
from network_pruning.inversion.aims import Aim
from network_pruning.inversion.convolutions import gradients_by_block
from network_pruning.inversion.recipe import Recipe
from network_pruning.taps import call_tapped
from network_pruning.training import is_dense

EPSILON = 1e-12
"""Of Adam. Gradients of single pixels may be as small as 1e-8, where Keras' own 1e-7
would slow them down, and the result would depend on the loss's scale."""


class Reconstructor(keras.Model):
    """Moves images until a network shows what is aimed at; nothing else moves.

    Attributes:
        network: Frozen: it runs in inference mode, and no weight is assigned to.
        images: The variable [n, h, w, c].
    """

    def __init__(
        self,
        network: keras.Model,
        aim: Aim,
        n: int,
        recipe: Recipe,
        pixel_range: tuple[float, float] = (0.0, 1.0),
        image_shape: tuple[int, ...] | None = None,
    ) -> None:
        """Makes room for images.

        Args:
            network: Images -> logits.
            aim: At what.
            n: Images that are moved at once.
            recipe: How.
            pixel_range: To which they are clipped.
            image_shape: Of one; None: that of the network's input.

        Raises:
            ValueError: If statistics of batches are to match, and the network keeps
                none.
        """
        check_batch_norm(network, recipe)
        # Not of the global policy, which would scale the loss by what went before.
        super().__init__(name="reconstructor", dtype="float32")
        self.network = network
        self.aim, self.recipe = aim, recipe
        self.pixel_range = pixel_range
        shape = image_shape or network.inputs[0].shape[1:]
        self.images = tf.Variable(tf.zeros((n, *shape)), name="images")
        self.compile(
            optimizer=keras.optimizers.Adam(recipe.learning_rate, epsilon=EPSILON)
        )
        self.optimizer.build([self.images])
        jit = is_dense(network) if recipe.jit is None else recipe.jit
        self._step = tf.function(self.train_step, jit_compile=jit)
        self._many = tf.function(self._steps)

    @property
    def trainable_weights(self) -> list[tf.Variable]:
        """The images alone."""
        return [self.images]

    def call(self, inputs: Any = None, training: bool | None = None) -> tf.Tensor:
        """Returns what the network makes of the images now."""
        del inputs, training
        return self.network(self.images, training=False)

    def start(self, images: npt.NDArray[np.float32]) -> None:
        """Begins anew, the optimiser too.

        Args:
            images: [n, h, w, c].
        """
        self.images.assign(images)
        for variable in self.optimizer.variables:
            if variable.name != "learning_rate:0":
                variable.assign(tf.zeros_like(variable))
        self._keep(tf.convert_to_tensor(self.images))

    def train_step(self, data: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Takes one step.

        Args:
            data: Targets [n, ...] by name, and dropout masks [n, ...] by layer's path.

        Returns:
            loss: Mean over the images.
        """
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(self.images)
            each, shared = self._apart(data)
            # Summed, so that no image's gradient depends on how many others there are.
            total = tf.reduce_sum(each) + shared * tf.cast(tf.size(each), each.dtype)
        self.optimizer.minimize(total, [self.images], tape=tape)
        self._keep(self._blurred_when_due())
        return {"loss": tf.reduce_mean(each) + shared}

    def run(self, data: dict[str, tf.Tensor], steps: int) -> npt.NDArray[np.float32]:
        """Takes many steps in one traced function.

        Args:
            data: See `train_step`.
            steps: How many; none is taken after one whose loss is no number.

        Returns:
            The loss before each step [steps].
        """
        return self._many(data, tf.constant(steps)).numpy()

    def _steps(self, data: dict[str, tf.Tensor], steps: tf.Tensor) -> tf.Tensor:
        trace = tf.TensorArray(tf.float32, steps)
        step, loss = tf.constant(0), tf.constant(0.0)
        while step < steps and tf.math.is_finite(loss):
            loss = self._step(data)["loss"]
            trace = trace.write(step, loss)
            step += 1
        return trace.stack()[:step]

    def _apart(self, data: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        seen = _Seen(data)
        # A tensor: layers of mixed precision cast what they read, but no variables.
        images = tf.convert_to_tensor(self.images)
        with gradients_by_block(self.network):
            _, taps = call_tapped(
                self.network, images, self.aim.taps, False, seen.intercept
            )
        each = self.aim.loss(signals.exact(taps), data)
        if self.recipe.total_variation:
            roughness = objectives.total_variation(self.images)
            each += self.recipe.total_variation * roughness
        shared = tf.constant(0.0)
        if self.recipe.batch_norm:
            shared = self.recipe.batch_norm * objectives.batch_norm_apart(
                *seen.statistics()
            )
        return each, shared

    def _blurred_when_due(self) -> tf.Tensor:
        images = tf.convert_to_tensor(self.images)
        if not self.recipe.blur:
            return images
        due = tf.equal(self.optimizer.iterations % self.recipe.blur_every, 0)
        return tf.where(due, objectives.blurred(images), images)

    def _keep(self, images: tf.Tensor) -> None:
        if self.recipe.clip:
            images = tf.clip_by_value(images, *self.pixel_range)
        self.images.assign(images)


class _Seen:
    """Watches one pass: drops units out by masks, notes what normalisers see."""

    def __init__(self, masks: dict[str, tf.Tensor]) -> None:
        self._masks = masks
        self._norms: list[tuple[keras.layers.Layer, tf.Tensor]] = []

    def intercept(self, call: Call, args: Any) -> Any:
        if isinstance(call.layer, keras.layers.BatchNormalization):
            self._norms.append((call.layer, args[0]))
        mask = self._masks.get(mask_name(call.path))
        if mask is None:
            return None
        return objectives.dropped(args[0], mask, call.layer.rate)

    def statistics(self) -> list[list[tf.Tensor]]:
        """Returns means, variances, and those that the layers keep."""
        found = []
        for layer, x in self._norms:
            axes = [i for i in range(len(x.shape)) if i not in layer.axis]
            kept = (layer.moving_mean, layer.moving_variance)
            found.append([
                *tf.nn.moments(tf.cast(x, tf.float32), axes),
                *(tf.cast(each, tf.float32) for each in kept),
            ])
        return [list(each) for each in zip(*found, strict=True)]


def check_batch_norm(network: keras.Model, recipe: Recipe) -> None:
    """Judges whether a network keeps the statistics that a recipe wants to match.

    Raises:
        ValueError: If not.
    """
    kind = keras.layers.BatchNormalization
    normalises = any(isinstance(layer, kind) for _, layer in leaf_layers(network))
    if recipe.batch_norm and not normalises:
        raise ValueError(
            f"batch_norm: got {recipe.batch_norm}, but {network.name!r} has no "
            "BatchNormalization whose statistics could match: expected 0"
        )


def mask_name(path: str) -> str:
    """Returns what the mask of a layer is called among the targets."""
    return f"mask of {path}"


SPATIAL = (
    keras.layers.SpatialDropout1D,
    keras.layers.SpatialDropout2D,
    keras.layers.SpatialDropout3D,
)


def dropout_sites(
    network: keras.Model, image_shape: Sequence[int]
) -> dict[str, tuple[float, tuple[int, ...]]]:
    """Lists where a network drops units out.

    Args:
        network: It.
        image_shape: Of one image; the network itself may leave its sides open.

    Returns:
        Rate and shape of one image's units, by path.

    Raises:
        ValueError: If there is no such place.
    """
    sites: dict[str, tuple[float, tuple[int, ...]]] = {}

    def note(call: Call, args: Any) -> None:
        layer = call.layer
        if isinstance(layer, keras.layers.Dropout) and layer.noise_shape is None:
            shape = tuple(args[0].shape[1:])
            if isinstance(layer, SPATIAL):  # Whole channels go.
                shape = (*[1] * (len(shape) - 1), shape[-1])
            sites[call.path] = (layer.rate, shape)

    traced = tf.function(lambda images: call_tapped(network, images, (), False, note))
    traced.get_concrete_function(tf.TensorSpec((None, *image_shape), tf.float32))
    if not sites:
        raise ValueError(
            f"model {network.name!r} has no Dropout layer, the objective "
            "all_layers_dropout needs one: choose all_layers"
        )
    return sites
