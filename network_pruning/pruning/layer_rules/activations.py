"""Which activations treat each channel alone."""

from __future__ import annotations

import tensorflow as tf
import tf_keras as keras

_ELEMENTWISE = (
    *("elu", "exponential", "gelu", "hard_sigmoid", "leaky_relu", "linear", "mish"),
    *("relu", "relu6", "selu", "sigmoid", "silu", "softplus", "softsign", "swish"),
    "tanh",
)
_ELEMENTWISE_FUNCTIONS = [
    getattr(module, name)
    for module in (keras.activations, tf.nn, tf.math)
    for name in _ELEMENTWISE
    if hasattr(module, name)
]
_ELEMENTWISE_LAYERS = (
    *(keras.layers.ReLU, keras.layers.LeakyReLU, keras.layers.ELU),
    *(keras.layers.ThresholdedReLU,),
)


def activation(layer: keras.layers.Layer) -> str | None:
    """Returns why a layer's activation may mix channels; None if it does not."""
    function = layer.activation
    if any(function is known for known in _ELEMENTWISE_FUNCTIONS):
        return None
    if type(function) in _ELEMENTWISE_LAYERS:
        return None
    name = getattr(function, "__name__", type(function).__name__)
    if "softmax" in name.lower():
        return f"its activation {name} mixes channels"
    return f"its activation {name} is not known to treat each channel alone"
