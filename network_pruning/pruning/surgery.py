"""Cuts units out: a narrower network of ordinary Keras layers, weights copied."""

from __future__ import annotations

import logging
import types
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras

from network_pruning.graph import Call, Descend, check_walkable, replay
from network_pruning.pruning import static_calls
from network_pruning.pruning.slices import sliced_shapes, sliced_weights
from network_pruning.pruning.units import LayerChannels, find_groups
from network_pruning.twins import assign
from network_pruning.types import BoolArray, FloatArray, Masks

logger = logging.getLogger(__name__)


def shrink(model: keras.Model, masks: Masks) -> keras.Model:
    """Removes units from a network.

    Args:
        model: Functional or Sequential tf_keras model; left as it is.
        masks: Bool [n_units] by group name, True = keep; a group that is not named
            keeps all.

    Returns:
        A functional model with the same names, types and graph, and narrower layers;
        it loads where this project is not installed. Not compiled.

    Raises:
        ValueError: If the model has no graph to walk, a mask does not fit, or a layer
            cannot be made again from its config.
    """
    groups = find_groups(model)
    surgeon = _Surgeon(groups.channels, groups.vector(masks))
    small = surgeon.rebuild(model)
    surgeon.copy_weights()
    _warn_of_losses(model)
    return small


class _Surgeon:
    """Replays a graph with narrower layers, each made once however often called."""

    def __init__(self, channels: dict[int, LayerChannels], vector: BoolArray) -> None:
        self.channels = channels
        self.vector = vector
        self.layers: dict[int, tuple[keras.layers.Layer, keras.layers.Layer]] = {}
        self.models: dict[int, keras.Model] = {}
        self.values: dict[int, list[FloatArray]] = {}

    def rebuild(self, model: keras.Model) -> keras.Model:
        """Returns the narrower model, weights not yet copied."""
        check_walkable(model)
        inputs = self._inputs(model)
        outputs = replay(model, inputs, self._apply, enter=self._enter)
        return keras.Model(inputs, outputs, name=model.name)

    def _inputs(self, model: keras.Model) -> Any:
        flat = [self._input(x._keras_history.layer) for x in model.inputs]
        return tf.nest.pack_sequence_as(model._nested_inputs, flat)

    def _input(self, layer: keras.layers.InputLayer) -> Any:
        config = layer.get_config()
        channels = self.channels.get(id(layer))
        if channels is not None and channels.inputs.size:
            width = int(np.count_nonzero(self.vector[channels.inputs]))
            config["batch_input_shape"] = (*config["batch_input_shape"][:-1], width)
        return type(layer).from_config(config).output

    def _apply(self, call: Call, args: Any, kwargs: Any) -> Any:
        layer = call.layer
        channels = self.channels.get(id(layer))
        if id(layer) not in self.layers:
            self.layers[id(layer)] = (layer, self._remade(call.path, layer))
            self.values[id(layer)] = sliced_weights(layer, channels, self.vector)
        if channels is not None and channels.rule and channels.rule.narrow_call:
            kept = self.vector[channels.inputs], self.vector[channels.outputs]
            args, kwargs = channels.rule.narrow_call(args, kwargs, *kept)
        new, values = self.layers[id(layer)][1], self.values[id(layer)]
        return static_calls.call(new, args, kwargs, values)

    def _remade(self, path: str, layer: keras.layers.Layer) -> keras.layers.Layer:
        try:
            return type(layer).from_config(self._narrowed_config(layer))
        except (KeyError, NotImplementedError, TypeError, ValueError) as error:
            raise ValueError(
                f"layer {path!r} ({type(layer).__name__}) cannot be made again from "
                f"its config, expected a get_config that names every argument: {error}"
            ) from error

    def _narrowed_config(self, layer: keras.layers.Layer) -> dict[str, Any]:
        config = layer.get_config()
        for built_at in ("build_config", "batch_input_shape"):
            config.pop(built_at, None)
        _free_of_arrays(config)
        config |= _functions_of(layer, config)
        channels = self.channels.get(id(layer))
        if channels is None or channels.rule is None:
            return config
        kept_in, kept_out = self.vector[channels.inputs], self.vector[channels.outputs]
        if channels.rule.width_key:
            config[channels.rule.width_key] = int(np.count_nonzero(kept_out))
        if channels.rule.narrow:
            channels.rule.narrow(config, kept_in, kept_out)
        return config

    def _enter(self, call: Call, args: Any, kwargs: Any, descend: Descend) -> Any:
        model = call.layer
        if id(model) not in self.models:
            inputs = self._inputs(model)
            self.models[id(model)] = keras.Model(
                inputs, descend(inputs), name=model.name
            )
        return self.models[id(model)](*args, **kwargs)

    def copy_weights(self) -> None:
        """Fills the new layers that were not made with slices of the old weights.

        Raises:
            ValueError: If a slice does not fit its new layer: a wrong layer rule.
        """
        for old, new in self.layers.values():
            channels = self.channels.get(id(old))
            cut = [list(s) for s in sliced_shapes(old, channels, self.vector)]
            shapes = [list(weight.shape) for weight in new.weights]
            if shapes != cut:
                raise ValueError(
                    f"layer {old.name!r}: its cut weights have the shapes {cut}, the "
                    f"new layer expects {shapes}; mend the rule of "
                    f"{type(old).__name__}."
                )
            if self.values[id(old)]:
                assign(new, sliced_weights(old, channels, self.vector))


OF_FUNCTIONS = ("activation", "_initializer", "_regularizer", "_constraint")
"""Ends of a config's entries that may stand for a function."""


def _functions_of(
    layer: keras.layers.Layer, config: dict[str, Any]
) -> dict[str, types.FunctionType]:
    """Returns the functions that a layer was given, by their name in its config.

    A config holds a function's name, by which Keras finds none but its own.
    """
    named = (name for name in config if name.endswith(OF_FUNCTIONS))
    given = {name: getattr(layer, name, None) for name in named}
    return {k: v for k, v in given.items() if isinstance(v, types.FunctionType)}


def _warn_of_losses(model: keras.Model) -> None:
    kinds = {type(layer).__name__ for layer in model._flatten_layers()}
    if left := kinds & {"AddLoss", "AddMetric"}:
        logger.warning(
            "%s: %s of the model is not carried over: add it to the cut network anew.",
            *(model.name, " and ".join(sorted(left))),
        )


def _free_of_arrays(config: dict[str, Any]) -> None:
    """Drops initial values of a layer that are an array: they have the old widths."""
    for name, value in config.items():
        if not name.endswith("_initializer") or not isinstance(value, dict):
            continue
        own = value.get("config")  # Of a function it is its name.
        if isinstance(own, dict) and isinstance(own.get("value"), dict | list):
            config[name] = "zeros"
