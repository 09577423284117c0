"""Calls layers on symbolic tensors without tracing them, where their shape is known.

Keras traces a layer into a scratch graph to learn the shape of its output; that is most
of the time it takes to make a network. The layers below say it themselves.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf
import tf_keras as keras

layers = keras.layers
STATIC = frozenset({
    layers.Activation,
    layers.Add,
    layers.AveragePooling2D,
    layers.BatchNormalization,
    layers.Concatenate,
    layers.Conv2D,
    layers.Dense,
    layers.DepthwiseConv2D,
    layers.Dropout,
    layers.Flatten,
    layers.GlobalAveragePooling2D,
    layers.GlobalMaxPooling2D,
    layers.MaxPooling2D,
    layers.ReLU,
    layers.ZeroPadding2D,
})
"""Exact classes whose `compute_output_shape` tells what a trace would."""

_TRACE = "_infer_output_signature"
_ADD = "add_weight"
_KERAS_TENSOR = type(keras.Input((1,)))


def call(
    layer: keras.layers.Layer,
    args: Any,
    kwargs: Any,
    values: list[npt.NDArray[Any]] | None = None,
) -> Any:
    """Calls a layer on symbolic tensors.

    Args:
        layer: Any; one that is not `STATIC`, or called in an unusual way, is traced.
        args: Of the call.
        kwargs: Of the call.
        values: What the layer's weights are to hold, in their order. Those that a
            layer told here makes are taken out; what is left is for the caller to set.

    Returns:
        What `layer(*args, **kwargs)` does: the same shapes, names and graph.
    """
    if not _is_static(layer, args, kwargs):
        return layer(*args, **kwargs)

    def told(inputs: Any, args: Any, kwargs: Any, masks: Any) -> Any:
        del masks
        with keras.backend.name_scope(layer._name_scope()), _filled(layer, values):
            layer._maybe_build(inputs)
        shapes = tf.nest.map_structure(lambda x: x.shape, inputs)
        shape = layer.compute_output_shape(shapes)
        layer._set_save_spec(inputs, args, kwargs)
        return _KERAS_TENSOR(tf.TensorSpec(shape, layer.compute_dtype))

    # Past Keras' own __setattr__, which would take it for a part of the layer.
    object.__setattr__(layer, _TRACE, told)
    try:
        return layer(*args, **kwargs)
    finally:
        object.__delattr__(layer, _TRACE)


@contextmanager
def _filled(
    layer: keras.layers.Layer, values: list[npt.NDArray[Any]] | None
) -> Generator[None, None, None]:
    """Has a layer make its weights with values: drawing others takes as long again."""
    make = layer.add_weight

    def add(name: Any = None, shape: Any = None, **options: Any) -> Any:
        if values and np.shape(values[0]) == tuple(shape):
            value = values.pop(0)
            options["initializer"] = lambda *_, **__: value
        return make(name, shape, **options)

    object.__setattr__(layer, _ADD, add)
    try:
        yield
    finally:
        object.__delattr__(layer, _ADD)


def _is_static(layer: keras.layers.Layer, args: Any, kwargs: Any) -> bool:
    if type(layer) not in STATIC or not hasattr(layer, _TRACE):
        return False
    if layer.built and layer.weights:
        return False  # Keras checks what it reads when it is built, or by the trace.
    inputs = tf.nest.flatten(args)
    return (
        len(args) == 1
        and not kwargs
        and layer.activity_regularizer is None
        and _keeps_shape(getattr(layer, "activation", None))
        and all(type(x) is _KERAS_TENSOR for x in inputs)
        and all(getattr(x, "_keras_mask", None) is None for x in inputs)
        and {x.dtype.name for x in inputs} == {layer.compute_dtype}
        and len({x.shape.rank for x in inputs}) == 1
    )


def _keeps_shape(activation: Any) -> bool:
    """Returns whether it is one of Keras' own; a user's may double the channels."""
    own = keras.activations.relu.__module__
    return activation is None or getattr(activation, "__module__", None) == own
