"""Runs a network with its layers made again, in float64; the network stays as it is."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras

from network_pruning.graph import Call, is_operator, with_mask_of
from network_pruning.pruning.surgery import assign

SAME = 1e-6
"""Of a layer's own maximum: equal layers on equal inputs do not differ by more."""
_SHORT = (tf.float16, tf.bfloat16, tf.float32)


class NoTwin(Exception):
    """A layer that is more than its config and its weights say."""


class Twins:
    """An interpreter for `graph.replay` that calls every layer's twin in float64.

    A twin is made at the first call, from the layer's config, its weights cast.
    """

    def __init__(self) -> None:
        self._twins: dict[int, keras.layers.Layer] = {}

    def __call__(self, call: Call, args: Any, kwargs: Any) -> Any:
        """Calls the twin of a layer.

        Returns:
            Its outputs, float64.
        """
        args, kwargs = in_double((args, kwargs))
        if is_operator(call.layer):  # It computes in whatever it is given.
            return call.layer(*args, **kwargs)
        if id(call.layer) not in self._twins:
            config = _in_double_config(call.layer.get_config())
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


def in_double(values: Any) -> Any:
    """Returns nested values, floating tensors, arrays and types among them float64."""
    return tf.nest.map_structure(_cast, values)


def _twin(
    layer: keras.layers.Layer, config: dict[str, Any], args: Any, kwargs: Any
) -> keras.layers.Layer:
    twin = type(layer).from_config(config)
    twin(*args, **kwargs)  # Builds it.
    assign(twin, [weight.numpy() for weight in layer.weights])
    return twin


def _cast(value: Any) -> Any:
    if isinstance(value, tf.DType):
        return tf.float64 if value in _SHORT else value
    if isinstance(value, tf.Tensor | np.ndarray) and value.dtype in _SHORT:
        return with_mask_of(value, tf.cast(value, tf.float64))
    return value


def _in_double_config(config: Any) -> Any:
    """Returns a layer's config, its own type and those of layers inside float64."""
    if isinstance(config, list | tuple):
        return [_in_double_config(value) for value in config]
    if not isinstance(config, dict):
        return config
    return {
        key: "float64"
        if key == "dtype" and "float" in str(value)
        else _in_double_config(value)
        for key, value in config.items()
    }
