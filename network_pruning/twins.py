"""Runs a network with its layers made again in one precision; it stays as it is."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras

from network_pruning.graph import Call, is_operator, with_mask_of
from network_pruning.types import FloatArray

SAME = 1e-6
"""Of a layer's own maximum: equal layers on equal inputs do not differ by more."""


class NoTwin(Exception):
    """A layer that is more than its config and its weights say."""


class Twins:
    """An interpreter for `graph.replay` that calls every layer's twin.

    A twin is made at the first call, from the layer's config, its weights cast.

    Attributes:
        dtype: In which all twins compute, whatever their layers do.
    """

    def __init__(self, dtype: tf.DType = tf.float64) -> None:
        self.dtype = dtype
        self._twins: dict[int, keras.layers.Layer] = {}

    def __call__(self, call: Call, args: Any, kwargs: Any) -> Any:
        """Calls the twin of a layer.

        Returns:
            Its outputs, of this precision.
        """
        args, kwargs = in_precision((args, kwargs), self.dtype)
        if is_operator(call.layer):  # It computes in whatever it is given.
            return call.layer(*args, **kwargs)
        if id(call.layer) not in self._twins:
            config = _config_in(call.layer.get_config(), self.dtype.name)
            self._twins[id(call.layer)] = _twin(call.layer, config, args, kwargs)
        return self._twins[id(call.layer)](*args, **kwargs)


def check_twins(call: Call, args: Any, kwargs: Any) -> Any:
    """Interprets as `graph.call_layer` does, if each layer equals its twin.

    Returns:
        The outputs of the layer itself.

    Raises:
        NoTwin: If made again from its config and weights it gives something else.
    """
    outputs = call.layer(*args, **kwargs)
    if is_operator(call.layer):
        return outputs
    twin = _twin(call.layer, call.layer.get_config(), args, kwargs)
    again = twin(*args, **kwargs)
    for one, other in zip(*map(tf.nest.flatten, (outputs, again)), strict=True):
        one, other = np.asarray(one), np.asarray(other)
        if np.abs(one - other).max(initial=0) > SAME * np.abs(one).max(initial=0):
            raise NoTwin(call.path)
    return outputs


def in_precision(values: Any, dtype: tf.DType) -> Any:
    """Casts what is of floating point among nested tensors, arrays and types.

    Args:
        values: Nested; what else there is stays.
        dtype: Of the result.

    Returns:
        The same structure.
    """

    def cast(value: Any) -> Any:
        if isinstance(value, tf.DType):
            return dtype if value.is_floating else value
        if isinstance(value, tf.Tensor | np.ndarray):
            if tf.as_dtype(value.dtype).is_floating:
                return with_mask_of(value, tf.cast(value, dtype))
        return value

    return tf.nest.map_structure(cast, values)


def assign(layer: keras.layers.Layer, values: list[FloatArray]) -> None:
    """Fills a layer's weights, in the order of `layer.weights`."""
    keras.backend.batch_set_value(list(zip(layer.weights, values, strict=True)))
    if isinstance(layer, keras.layers.Normalization):
        layer.finalize_state()  # It computes with copies of its weights.


def _twin(
    layer: keras.layers.Layer, config: dict[str, Any], args: Any, kwargs: Any
) -> keras.layers.Layer:
    twin = type(layer).from_config(config)
    twin(*args, **kwargs)  # Builds it.
    assign(twin, [weight.numpy() for weight in layer.weights])
    return twin


def _config_in(config: Any, dtype: str) -> Any:
    """Returns a layer's config, its own type and those of layers inside `dtype`."""
    if isinstance(config, list | tuple):
        return [_config_in(value, dtype) for value in config]
    if not isinstance(config, dict):
        return config
    return {
        key: dtype
        if key == "dtype" and "float" in str(value)
        else _config_in(value, dtype)
        for key, value in config.items()
    }
