"""What each kind of layer does to channels: one declarative rule per class.

A channel is an index along the last axis of a tensor. A mixer (Dense) reads all
channels and makes new ones, its units; a follower (BatchNormalization) has weights per
channel; a passive layer (ReLU, Flatten) has none. A layer without a rule is refused:
the channels that touch it are never cut.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import tensorflow as tf
import tf_keras as keras

from network_pruning.graph import Call

IntArray = npt.NDArray[np.int64]
Axes = tuple[Literal["in", "out"] | None, ...]


@dataclass(frozen=True)
class LayerRule:
    """How a layer class treats channels.

    Attributes:
        role: "mixer", "follower" or "passive".
        weight_axes: Attribute of a weight -> which channels its axes run along: "in",
            "out", or None; aligned with the last axes of the weight.
        width_key: Config entry that holds the number of units of a mixer.
        channels: (call, channel ids of the input) -> ids of the output [width]; None
            keeps the ids. Not for mixers, whose outputs are new.
        fixed: layer -> why its output channels must not be cut, or None if they may.
        quiet: Whether a fixed layer goes without mention where nothing was to be cut
            anyway, as a final softmax does.
    """

    role: Literal["mixer", "follower", "passive"]
    weight_axes: Mapping[str, Axes] = field(default_factory=dict)
    width_key: str | None = None
    channels: Callable[[Call, IntArray], IntArray] | None = None
    fixed: Callable[[keras.layers.Layer], str | None] | None = None
    quiet: bool = True

    def why_fixed(self, layer: keras.layers.Layer) -> str | None:
        """Returns why this layer's output channels must stay, or None."""
        return self.fixed(layer) if self.fixed else None


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


def _activation(layer: keras.layers.Layer) -> str | None:
    """Returns why an activation may mix channels; None if it does not."""
    function = layer.activation
    if any(function is known for known in _ELEMENTWISE_FUNCTIONS):
        return None
    if isinstance(function, keras.layers.Layer):
        rule = RULES.get(type(function))
        if rule and rule.role == "passive" and not rule.why_fixed(function):
            return None
    name = getattr(function, "__name__", type(function).__name__)
    if "softmax" in name:
        return f"its activation {name} mixes channels"
    return f"its activation {name} is not known to treat each channel alone"


def _always(reason: str) -> Callable[[keras.layers.Layer], str | None]:
    return lambda layer: reason


def _norm_axis(layer: keras.layers.Layer) -> str | None:
    last = layer.input_spec.ndim - 1
    if list(layer.axis) == [last]:
        return None
    return f"it normalises axis {list(layer.axis)}, not the last one, {last}"


def _noise_shape(layer: keras.layers.Layer) -> str | None:
    shape = getattr(layer, "noise_shape", None)
    if shape is None or shape[-1] in {None, 1}:
        return None
    return f"its noise_shape {tuple(shape)} fixes the number of channels"


def _scale(layer: keras.layers.Layer) -> str | None:
    if np.ndim(layer.scale) == 0 and np.ndim(layer.offset) == 0:
        return None
    return "its scale or offset is a list by channel"


def _data_format(layer: keras.layers.Layer) -> str | None:
    if layer.data_format == "channels_last":
        return None
    return "it reads channels_first, expected channels_last"


def _shared_alpha(layer: keras.layers.Layer) -> str | None:
    rank = len(layer.alpha.shape)
    if rank in set(layer.shared_axes or ()):
        return "its alpha is shared over the channels"
    return None


def _flattened(call: Call, ids: IntArray) -> IntArray:
    """Returns the channels once per position: flattening is row-major."""
    width = call.node.outputs.shape[-1]
    return np.tile(ids, width // len(ids))


_LAYERS = keras.layers
_PER_CHANNEL: Axes = ("in",)

RULES: dict[type[Any], LayerRule] = {
    _LAYERS.Dense: LayerRule(
        role="mixer",
        weight_axes={"kernel": ("in", "out"), "bias": ("out",)},
        width_key="units",
        fixed=_activation,
    ),
    _LAYERS.BatchNormalization: LayerRule(
        role="follower",
        weight_axes=dict.fromkeys(
            ("gamma", "beta", "moving_mean", "moving_variance"), _PER_CHANNEL
        ),
        fixed=_norm_axis,
        quiet=False,
    ),
    _LAYERS.PReLU: LayerRule(
        role="follower", weight_axes={"alpha": _PER_CHANNEL}, fixed=_shared_alpha
    ),
    _LAYERS.Activation: LayerRule(role="passive", fixed=_activation),
    _LAYERS.Softmax: LayerRule(role="passive", fixed=_always("softmax mixes channels")),
    _LAYERS.Flatten: LayerRule(
        role="passive", channels=_flattened, fixed=_data_format, quiet=False
    ),
    _LAYERS.Rescaling: LayerRule(role="passive", fixed=_scale),
    _LAYERS.Normalization: LayerRule(
        role="passive", fixed=_always("its statistics belong to the data")
    ),
    **{
        layer_class: LayerRule(role="passive", fixed=_noise_shape)
        for layer_class in (
            *(_LAYERS.Dropout, _LAYERS.AlphaDropout, _LAYERS.GaussianDropout),
            *(_LAYERS.GaussianNoise, _LAYERS.SpatialDropout1D),
            *(_LAYERS.SpatialDropout2D, _LAYERS.SpatialDropout3D),
        )
    },
    **{
        layer_class: LayerRule(role="passive")
        for layer_class in (
            *(_LAYERS.ReLU, _LAYERS.LeakyReLU, _LAYERS.ELU),
            *(_LAYERS.ThresholdedReLU, _LAYERS.ActivityRegularization),
        )
    },
}
"""Layer class -> rule. Exact classes: a subclass may compute something else."""


def register_layer_rule(layer_class: type[Any], rule: LayerRule) -> None:
    """Teaches how a custom layer treats channels.

    Args:
        layer_class: The class; its subclasses need rules of their own.
        rule: For a subclass of Dense that only adds a print, `RULES[Dense]`.

    Raises:
        ValueError: If the class has a rule already.
    """
    if layer_class in RULES:
        raise ValueError(
            f"layer class {layer_class.__name__} has a rule already, expected a class "
            f"without one: change RULES[{layer_class.__name__}] if it must differ."
        )
    RULES[layer_class] = rule
