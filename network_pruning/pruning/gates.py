"""Masks units without removing them: same weights, same layers, every cut unit silent.

Gate: same weights, the unit reads as zero at every consumer, that is after the last
normaliser and activation in between. Zeroing the producer's column would not do it:
a bias, BatchNormalization or an activation with f(0) != 0 revives the unit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf
import tf_keras as keras

from network_pruning.graph import Apply, Call, call_layer, replay, with_mask_of
from network_pruning.pruning.units import Groups, LayerChannels, UnitGroup, find_groups
from network_pruning.types import Masks

TensorMasks = Mapping[str, Any] | Sequence[Any]
"""Bool or float [n_units] by group name, or for every group in order; with a mask of
its own for each of n examples, [n, n_units]."""


class Gated(keras.Model):
    """A network some of whose units read as zero; it shares the network's layers.

    Without fixed masks it is called as `gated([inputs, masks])` or
    `gated(inputs, masks=masks)`; the masks are tensors, so one trace serves all. Float
    masks multiply, and gradients reach them. Masks [n, n_units] treat each example by
    itself: many coalitions in one batch, or the gradient of each example alone.

    Attributes:
        network: The original, untouched.
    """

    def __init__(self, network: keras.Model, masks: Masks | None = None) -> None:
        super().__init__(name=f"gated_{network.name}")
        groups = find_groups(network)
        self.network = network
        self._board = _Switchboard(groups)
        self._fixed = None if masks is None else tf.constant(groups.vector(masks))

    @property
    def groups(self) -> Groups:
        """The groups its masks are for."""
        return self._board.groups

    def call(
        self,
        inputs: Any,
        training: bool | None = None,
        masks: TensorMasks | None = None,
    ) -> Any:
        """Runs the network with its units masked.

        Args:
            inputs: Of the network; [inputs, masks] where masks are neither fixed nor
                given.
            training: Handed on by Keras to the layers inside.
            masks: Bool or float [n_units] or [n, n_units] by group name (a group that
                is not named keeps all), or a list for every group in order.

        Returns:
            The network's outputs.

        Raises:
            ValueError: If masks are given twice or do not fit.
        """
        del training  # Keras' call context carries it to the layers.
        if self._fixed is not None:
            if masks is not None:
                raise ValueError(
                    "masks: got masks in the call of a model gated with fixed ones, "
                    "expected gate(model) without masks."
                )
            vector = self._fixed
        else:
            if masks is None:
                inputs, masks = inputs
            vector = self._board.vector(masks)
        return replay(
            self.network, inputs, gated_interpreter(self._board.groups, vector)
        )


class _Switchboard:
    """Lays masks out by slot and applies them. No Keras object, so none is tracked."""

    def __init__(self, groups: Groups) -> None:
        self.groups = groups

    def vector(self, masks: TensorMasks) -> tf.Tensor:
        """Lays mask tensors out by slot.

        Returns:
            Bool or float [1 + units of all groups]; [n, ...] if any mask is [n, ...].

        Raises:
            ValueError: If a mask does not fit.
        """
        named = self._named(masks)
        self.groups.check_names(named)
        given = {name: tf.convert_to_tensor(mask) for name, mask in named.items()}
        dtypes = {mask.dtype for mask in given.values()} or {tf.bool}
        if len(dtypes) > 1:
            raise ValueError(
                f"masks: got {sorted(d.name for d in dtypes)}, expected all bool or "
                "all of one float type."
            )
        (dtype,) = dtypes
        parts = [tf.ones(1, dtype)]
        for group in self.groups:
            mask = given.get(group.name, tf.ones(group.n_units, dtype))
            _check_shape(mask, group)
            parts.append(mask)
        n_slots = 1 + sum(group.n_units for group in self.groups)
        examples = [tf.shape(part)[0] for part in parts if part.shape.rank == 2]
        if not examples:
            # Reshaping makes the masks' gradients tensors, where gather leaves slices.
            return tf.reshape(tf.concat(parts, axis=0), [n_slots])
        wide = [tf.broadcast_to(p, [examples[0], p.shape[-1]]) for p in parts]
        return tf.reshape(tf.concat(wide, axis=1), [examples[0], n_slots])

    def _named(self, masks: TensorMasks) -> Mapping[str, Any]:
        if isinstance(masks, Mapping):
            return masks
        if len(masks) != len(self.groups):
            raise ValueError(
                f"masks: got a list of {len(masks)}, expected one mask for each of the "
                f"{len(self.groups)} groups."
            )
        return {group.name: m for group, m in zip(self.groups, masks, strict=True)}


def _check_shape(mask: tf.Tensor, group: UnitGroup) -> None:
    if mask.shape.rank not in {1, 2} or mask.shape[-1] != group.n_units:
        raise ValueError(
            f"mask of group {group.name!r}: got {mask.shape}, expected "
            f"[{group.n_units}], or [examples, {group.n_units}]."
        )


def gated_interpreter(
    groups: Groups, vector: tf.Tensor, run: Apply = call_layer
) -> Apply:
    """Makes an interpreter that calls every layer, masking what a mixer reads.

    Args:
        groups: Of the network replayed.
        vector: Mask by slot, bool or float [1 + units of all groups], or one such row
            for each example.
        run: Calls the layers.

    Returns:
        For `graph.replay`.
    """

    def apply(call: Call, args: Any, kwargs: Any) -> Any:
        channels = groups.channels.get(id(call.layer))
        if channels is not None and _reads_units(channels):
            mask = tf.gather(vector, channels.inputs, axis=-1)
            args = (with_mask_of(args[0], _masked(args[0], mask)), *args[1:])
        return run(call, args, kwargs)

    return apply


def _reads_units(channels: LayerChannels) -> bool:
    mixes = channels.rule is not None and channels.rule.role == "mixer"
    return mixes and bool(channels.inputs.any())


def _masked(x: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """Returns x with its channels masked, infinite and NaN ones too."""
    if mask.shape.rank == 2:
        between = [1] * (x.shape.rank - 2)
        mask = tf.reshape(mask, [tf.shape(mask)[0], *between, mask.shape[-1]])
    if mask.dtype == tf.bool:
        return tf.where(mask, x, tf.zeros([], x.dtype))
    return tf.math.multiply_no_nan(x, tf.cast(mask, x.dtype))


def gate(model: keras.Model, masks: Masks | None = None) -> Gated:
    """Masks units of a network, with its own layers and weights.

    Args:
        model: Functional or Sequential tf_keras model.
        masks: Bool [n_units] by group name, True = keep; a group that is not named
            keeps all. None: the masks become an input.

    Returns:
        A model that shares the network's layers and leaves its graph as it is.

    Raises:
        ValueError: If the model has no graph to walk, or a mask does not fit.
    """
    return Gated(model, masks)
