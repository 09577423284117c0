"""Walks the graph of a functional or Sequential tf_keras model, nested ones included.

One walker serves every interpreter: channel numbers (pruning/units.py), tensors
(pruning/gates.py) and symbolic tensors for new layers (pruning/surgery.py). It reads
the model's own nodes, not its config, and adds none to them.
"""

from __future__ import annotations

import hashlib
import inspect
import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras

VOLATILE = ("trainable", "batch_input_shape")
"""Config entries that do not change what a layer computes."""


@dataclass(frozen=True)
class Call:
    """One call of a layer in the graph of a model.

    Attributes:
        path: Name of the layer, behind those of the models it is nested in:
            "outer/inner".
        layer: The layer; for `enter`, the nested model.
        index: How often the layer was called before in this replay.
        node: Keras' own record: `node.keras_inputs` and `node.outputs` are the
            symbolic tensors, with their shapes.
    """

    path: str
    layer: keras.layers.Layer
    index: int
    node: Any


Apply = Callable[[Call, tuple[Any, ...], dict[str, Any]], Any]
"""(call, args, kwargs) -> outputs, in the structure of `call.node.outputs`."""

Descend = Callable[[Any], Any]
"""Inputs of a nested model -> its outputs, by the same interpreter."""

Enter = Callable[[Call, tuple[Any, ...], dict[str, Any], Descend], Any]


def call_layer(call: Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Calls the layer itself: the interpreter by which a replay runs the network.

    Returns:
        Its outputs.
    """
    return call.layer(*args, **kwargs)


def at_rest(call: Call, kwargs: dict[str, Any]) -> dict[str, Any]:
    """Returns the arguments of a call, with `training` False unless the graph fixes it.

    Left out, it would be True for the layers that augment images.
    """
    if not call.layer._call_spec.expects_training_arg:
        return kwargs
    return {**kwargs, "training": kwargs.get("training") or False}


def with_mask_of(source: Any, made: tf.Tensor) -> tf.Tensor:
    """Returns a tensor that was made of another one, with the other's Keras mask."""
    mask = getattr(source, "_keras_mask", None)
    if mask is not None:
        made._keras_mask = mask
    return made


def calls_of(model: keras.Model) -> list[Call]:
    """Lists the calls of layers that a model's graph consists of.

    Returns:
        Those of nested models too, in graph order.

    Raises:
        ValueError: If the model has no graph to walk.
    """
    found: list[Call] = []

    def note(call: Call, args: Any, kwargs: Any) -> Any:
        del args, kwargs
        found.append(call)
        return call.node.outputs

    replay(model, model.inputs, note)
    return found


def carries_masks(model: keras.Model) -> bool:
    """Returns whether layers tell others which places to leave out (Masking ...)."""
    return any(
        getattr(output, "_keras_mask", None) is not None
        for call in calls_of(model)
        for output in tf.nest.flatten(call.node.outputs)
    )


def is_operator(layer: keras.layers.Layer) -> bool:
    """Returns whether a layer stands for a TensorFlow function in a graph."""
    return type(layer).__name__ in {"TFOpLambda", "SlicingOpLambda"}


def replay(
    model: keras.Model,
    inputs: Any,
    apply: Apply,
    prefix: str = "",
    enter: Enter | None = None,
) -> Any:
    """Runs a model's graph with values of any kind.

    Args:
        model: Functional or Sequential, built.
        inputs: A value for each input, in the structure of the model's inputs.
        apply: Called for each call of a layer that is no model with a graph, in graph
            order, with the recorded arguments, symbolic tensors replaced by values.
        prefix: Put before every path, "outer/" for instance.
        enter: Called instead for each call of a nested model, with `descend`, which
            replays its graph; None replays it, and hands a `training` argument frozen
            into the call on to the layers inside.

    Returns:
        The values of the outputs, in the structure of the model's outputs.

    Raises:
        ValueError: If the model has no graph to walk.
    """
    return _Replay(apply, enter).run(model, inputs, prefix)


class _Replay:
    """The state of one replay: the interpreter, and how often each layer was met."""

    def __init__(self, apply: Apply, enter: Enter | None) -> None:
        self.apply = apply
        self.enter = enter
        self.calls: Counter[int] = Counter()

    def run(
        self, model: keras.Model, inputs: Any, prefix: str, training: Any = None
    ) -> Any:
        check_walkable(model)
        values = model._flatten_to_reference_inputs(inputs)
        env = {id(x): v for x, v in zip(model.inputs, values, strict=True)}
        for node in _nodes(model):
            args = _replace(node.call_args, env)
            kwargs = _replace(node.call_kwargs, env)
            outputs = self._call(node, args, kwargs, prefix, training)
            symbolic = tf.nest.flatten(node.outputs)
            for x, v in zip(symbolic, tf.nest.flatten(outputs), strict=True):
                env[id(x)] = v
        flat = [env[id(x)] for x in model.outputs]
        return tf.nest.pack_sequence_as(model._nested_outputs, flat)

    def _call(
        self, node: Any, args: Any, kwargs: Any, prefix: str, training: Any
    ) -> Any:
        layer = node.layer
        call = Call(prefix + layer.name, layer, self.calls[id(layer)], node)
        self.calls[id(layer)] += 1
        if training is not None and layer._call_spec.expects_training_arg:
            kwargs = {**kwargs, "training": kwargs.get("training", training)}
        if not has_graph(layer):
            return self.apply(call, args, kwargs)
        if self.enter is None:
            frozen = kwargs.get("training")
            return self.run(layer, args[0], call.path + "/", frozen)
        return self.enter(
            call, args, kwargs, lambda x: self.run(layer, x, call.path + "/")
        )


def _nodes(model: keras.Model) -> Iterator[Any]:
    """Yields the calls a model's graph consists of, each after those it reads."""
    for depth in sorted(model._nodes_by_depth, reverse=True):
        yield from (n for n in model._nodes_by_depth[depth] if not n.is_input)


def _replace(arguments: Any, env: dict[int, Any]) -> Any:
    return tf.nest.map_structure(
        lambda x: env[id(x)] if hasattr(x, "_keras_history") else x, arguments
    )


def has_graph(layer: Any) -> bool:
    """Returns whether it is a model with a graph to walk, nested or not."""
    return bool(getattr(layer, "_is_graph_network", False))


def leaf_layers(model: keras.Model) -> list[tuple[str, keras.layers.Layer]]:
    """Lists the layers of a model that are no models themselves, inputs left out.

    Returns:
        (path, layer) in graph order; a shared layer once, by its first path. A model
        without a graph counts as a layer.

    Raises:
        ValueError: If the model has no graph to walk.
    """
    seen: dict[int, tuple[str, keras.layers.Layer]] = {}

    check_walkable(model)

    def visit(inner: keras.Model, prefix: str) -> None:
        for node in _nodes(inner):
            layer = node.layer
            if has_graph(layer):
                visit(layer, f"{prefix}{layer.name}/")
            else:
                seen.setdefault(id(layer), (prefix + layer.name, layer))

    visit(model, "")
    return list(seen.values())


def owned_layers(model: keras.Model) -> list[tuple[str, keras.layers.Layer]]:
    """Lists the layers with weights of a model of any kind, those inside layers too.

    Returns:
        (path, layer) in the order of the attributes that hold them, each layer once; of
        equal paths, all but the first carry a number.
    """
    seen: set[int] = set()
    found: dict[str, keras.layers.Layer] = {}

    def visit(owner: keras.layers.Layer, prefix: str) -> None:
        for layer in owner._flatten_layers(recursive=False, include_self=False):
            if id(layer) in seen:
                continue
            seen.add(id(layer))
            path = prefix + layer.name
            if layer._trainable_weights:
                found[f"{path}_{len(found)}" if path in found else path] = layer
            visit(layer, f"{path}/")

    visit(model, "")
    return list(found.items())


def learnt_weights(layer: keras.layers.Layer) -> list[tf.Variable]:
    """Lists what a layer or model has learnt, whether it is frozen by now or not.

    Returns:
        Its weights without moving statistics and the states of generators.
    """
    # What a lookup layer lists among them is a table, and no variable.
    return [w for w in layer.weights if getattr(w, "trainable", False)]


def is_subclassed(model: Any) -> bool:
    """Returns whether it is a tf_keras model whose call is code, without a graph."""
    is_code = isinstance(model, keras.Model) and not has_graph(model)
    return is_code and not isinstance(model, keras.Sequential)


def check_walkable(model: Any) -> None:
    """Refuses what has no graph of tf_keras layers.

    Raises:
        ValueError: With the remedy: for a Keras 3 object, something that is no model,
            a Sequential without input shape, a subclassed model.
    """
    name = getattr(model, "name", repr(model))
    modules = [cls.__module__ for cls in type(model).__mro__]
    if any(m == "keras" or m.startswith("keras.") for m in modules):
        raise ValueError(
            f"model {name!r} is a Keras 3 object, expected a tf_keras model: make it "
            "again with `import tf_keras as keras`, or set TF_USE_LEGACY_KERAS=1."
        )
    if not isinstance(model, keras.Model):
        raise ValueError(
            f"model: got {type(model).__name__}, expected a tf_keras model, functional "
            "or Sequential."
        )
    if has_graph(model):
        return
    if isinstance(model, keras.Sequential):
        raise ValueError(
            f"Sequential {name!r} has no graph yet: begin it with keras.Input(shape), "
            "or call model.build((None, ...)) first."
        )
    raise ValueError(
        f"model {name!r} is a subclassed {type(model).__name__}, its graph cannot be "
        "read: express it as keras.Model(inputs, outputs), as x = keras.Input(shape); "
        "keras.Model(x, model.call(x)) often does, or pass the functional model inside "
        "it. As it is, single weights can go: prune_weights(model, .5, into=model)."
    )


def fingerprint(model: keras.Model) -> str:
    """Digests what a model computes: its graph, layer settings and weights.

    The same before and after saving, however the file's bytes differ; trainable or
    not, compiled or not.

    Returns:
        SHA-256, 64 hexadecimal digits.

    Raises:
        ValueError: If the model has no graph to walk.
    """
    digest = hashlib.sha256()
    numbers = itertools.count(1)

    def describe(call: Call, args: Any, kwargs: Any) -> Any:
        config = call.layer.get_config()
        kept = {k: v for k, v in config.items() if k not in VOLATILE}
        given = _by_name(call.layer, args, kwargs)
        entry = [call.path, type(call.layer).__name__, kept, *given]
        digest.update(json.dumps(entry, sort_keys=True, default=_plain).encode())
        return tf.nest.map_structure(lambda _: next(numbers), call.node.outputs)

    inputs = [[i, list(x.shape), x.dtype.name] for i, x in enumerate(model.inputs)]
    sources = [-i - 1 for i, _ in enumerate(model.inputs)]
    outputs = replay(model, sources, describe)
    digest.update(json.dumps([inputs, outputs], default=_plain).encode())
    for _, layer in leaf_layers(model):
        for weight in layer.weights:
            value = weight.numpy()
            digest.update(f"{value.shape}{value.dtype}".encode())
            digest.update(np.ascontiguousarray(value).tobytes())
    return digest.hexdigest()


def _by_name(layer: keras.layers.Layer, args: Any, kwargs: Any) -> tuple[Any, Any]:
    """Names an operator's arguments, which a saved model does in another way.

    Returns:
        What stays positional, and the rest by name, defaults filled in.
    """
    function = getattr(layer, "function", None)
    if function is None:
        return args, kwargs
    try:
        bound = inspect.signature(function).bind(*args, **kwargs)
    except (TypeError, ValueError):
        return args, kwargs
    bound.apply_defaults()
    return (), {k: v for k, v in bound.arguments.items() if k != "name"}


def _plain(value: Any) -> Any:
    """Returns what JSON can express instead, the same in every process."""
    if hasattr(value, "numpy") or isinstance(value, np.ndarray | np.generic):
        return np.asarray(value).tolist()
    if hasattr(value, "get_config"):
        return [type(value).__name__, value.get_config()]
    return getattr(value, "__qualname__", None) or str(value)
