"""Reads the layers of a network before their activation, in the pass that runs it.

An activation that is fused into a layer (`Dense(64, "relu")`) is split off, so that a
tap means the same for `Dense(64, "relu")` and for `Dense(64)` with a ReLU layer behind:
what the layer computes from its weights, bias included.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any

import tensorflow as tf
import tf_keras as keras

from network_pruning.graph import Call, calls_of, leaf_layers, replay

Shape = tuple[int | None, ...]
Intercept = Callable[[Call, Any], Any]
"""(call, its arguments) -> what the layer is to give, or None to have it called."""
_CONVOLUTION = keras.layers.Conv2D.__mro__[1]
WEIGHTED = (keras.layers.Dense, _CONVOLUTION)
"""Dense layers, and convolutions of every kind."""


def weighted_layers(model: keras.Model) -> list[str]:
    """Lists the dense and convolutional layers of a network.

    Returns:
        Their paths, in graph order.

    Raises:
        ValueError: If the model has no graph to walk.
    """
    return [p for p, layer in leaf_layers(model) if isinstance(layer, WEIGHTED)]


def check_layers(model: keras.Model, paths: Sequence[str]) -> None:
    """Judges whether layers can be tapped.

    Args:
        model: The network.
        paths: Layers by path: by name, behind the names of the models it is nested in.

    Raises:
        ValueError: If a path is unknown (with the list), stands twice, or names a layer
            that is called more than once, or has its channels first.
    """
    layers = dict(leaf_layers(model))
    known = list(layers)
    calls = Counter(call.path for call in calls_of(model))
    for path in paths:
        if path not in known:
            near = difflib.get_close_matches(path, known, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise ValueError(
                f"layers: got {path!r}, expected one of {', '.join(known)}.{hint}"
            )
        if getattr(layers[path], "data_format", None) == "channels_first":
            raise ValueError(
                f"layer {path!r}: got data_format='channels_first', expected "
                "'channels_last': channels are read from the last axis"
            )
        if calls[path] > 1:
            raise ValueError(
                f"layer {path!r} is called {calls[path]} times in {model.name!r}, "
                "expected one call: tap a layer that is not shared."
            )
    if len(set(paths)) < len(paths):
        raise ValueError(f"layers: got {', '.join(paths)}, expected each layer once.")


def tap_shapes(model: keras.Model, paths: Sequence[str]) -> dict[str, Shape]:
    """Returns the shapes [n, ..., channels] of layers' pre-activations, by path.

    Raises:
        ValueError: If a layer cannot be tapped, see `check_layers`.
    """
    check_layers(model, paths)
    known = {call.path: call.node.outputs for call in calls_of(model)}
    return {path: tuple(known[path].shape) for path in paths}


def call_tapped(
    model: keras.Model,
    inputs: Any,
    paths: Sequence[str],
    training: bool | None = None,
    intercept: Intercept | None = None,
) -> tuple[Any, dict[str, tf.Tensor]]:
    """Runs a network, and shows what layers compute before their activation.

    Args:
        model: Functional or Sequential; its own layers and weights are used.
        inputs: Tensors, in the structure of the model's inputs.
        paths: Layers, judged by `check_layers`.
        training: For Dropout and BatchNormalization; None leaves it to the context.
        intercept: Asked before each call of a layer; what it gives is not tapped.

    Returns:
        The model's outputs, and by path, in the order of `paths`, the pre-activation
        [n, ..., channels]; for a layer without activation, its output.
    """
    taps: dict[str, tf.Tensor] = {}
    wanted = set(paths)

    def apply(call: Call, args: Any, kwargs: Any) -> Any:
        if training is not None and call.layer._call_spec.expects_training_arg:
            kwargs = {"training": training, **kwargs}
        given = None if intercept is None else intercept(call, args)
        if given is not None:
            return given
        if call.path not in wanted:
            return call.layer(*args, **kwargs)
        with _activation_held_back(call.layer) as activation:
            taps[call.path] = call.layer(*args, **kwargs)
        return activation(taps[call.path])

    outputs = replay(model, inputs, apply)
    return outputs, {path: taps[path] for path in paths}


@contextmanager
def _activation_held_back(layer: keras.layers.Layer) -> Generator[Any, None, None]:
    """Lets a layer that computes from weights be called without its activation.

    Yields:
        What the layer would have applied last.
    """
    linear = keras.activations.linear
    activation = getattr(layer, "activation", None)
    if activation is None or not isinstance(layer, WEIGHTED):
        yield linear
        return
    layer.activation = linear
    try:
        yield activation
    finally:
        layer.activation = activation
