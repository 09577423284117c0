"""Reads a network's graph with channel numbers in place of tensors.

A tensor is an array of channel ids along its last axis: Dense makes new ids,
BatchNormalization passes them on, Flatten repeats them. Ids that must be cut together
are united; ids that must stay are frozen, with the reason.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras

from network_pruning.graph import Call, Descend, replay
from network_pruning.pruning.layer_rules import RULES, IntArray, LayerRule


class ChannelIds:
    """Numbers for channels, united where two must share their fate."""

    def __init__(self) -> None:
        self.size = 0
        self._pairs: list[IntArray] = [np.empty((2, 0), np.int64)]

    def fresh(self, n: int) -> IntArray:
        """Returns n new ids."""
        self.size += n
        return np.arange(self.size - n, self.size)

    def unite(self, a: IntArray, b: IntArray) -> None:
        """Couples a[i] with b[i] for each i."""
        self._pairs.append(np.stack([a, b]))

    def labels(self) -> IntArray:
        """Returns the smallest id coupled with each id, directly or not [size]."""
        labels = np.arange(self.size)
        a, b = np.concatenate(self._pairs, axis=1)
        while not np.array_equal(labels[a], labels[b]):
            one, other = labels[a], labels[b]
            smaller = np.minimum(one, other)
            np.minimum.at(labels, one, smaller)
            np.minimum.at(labels, other, smaller)
            labels = labels[labels]
        return labels


@dataclass(frozen=True)
class Channels:
    """Stands for a tensor while the graph is read: ids along its last axis."""

    ids: IntArray


@dataclass(frozen=True)
class Trace:
    """A layer met, with the channel ids it reads and makes.

    Attributes:
        path: Of the layer.
        layer: A mixer or follower, or an InputLayer of a nested model.
        rule: Of its class; None for an InputLayer.
        inputs: Ids [width in].
        outputs: Ids [width out].
    """

    path: str
    layer: keras.layers.Layer
    rule: LayerRule | None
    inputs: IntArray
    outputs: IntArray


@dataclass(frozen=True)
class Freeze:
    """Ids that must stay.

    Attributes:
        path: Of the layer that wants it, "" for the model itself.
        reason: Why.
        ids: Which.
        quiet: Whether to keep silent where nothing was to be cut anyway.
    """

    path: str
    reason: str
    ids: IntArray
    quiet: bool


@dataclass
class ChannelReader:
    """Reads one model; `ids`, `traces` (by id(layer)) and `frozen` hold the result."""

    ids: ChannelIds = field(default_factory=ChannelIds)
    traces: dict[int, Trace] = field(default_factory=dict)
    frozen: list[Freeze] = field(default_factory=list)

    def read(self, model: keras.Model) -> None:
        """Reads a model.

        Raises:
            ValueError: If it has no graph to walk.
        """
        inputs = [self._fresh_like(x) for x in model.inputs]
        outputs = list(_tensors(replay(model, inputs, self._apply, enter=self._enter)))
        ends = [
            self._freeze("", "its units are the model's outputs", *outputs),
            self._freeze("", "its units are tied to the model's inputs", *inputs),
        ]
        self.frozen = ends + self.frozen

    def _fresh_like(self, tensor: Any) -> Channels:
        shape = tensor.shape
        has_channels = (shape.rank or 0) > 1 and shape[-1] is not None
        return Channels(self.ids.fresh(shape[-1] if has_channels else 0))

    def _freeze(
        self, path: str, reason: str, *tensors: Channels, quiet: bool = True
    ) -> Freeze:
        ids = np.concatenate([np.empty(0, np.int64), *(x.ids for x in tensors)])
        return Freeze(path, reason, ids, quiet)

    def _apply(self, call: Call, args: Any, kwargs: Any) -> Any:
        rule = RULES.get(type(call.layer))
        tensors = list(_tensors((args, kwargs)))
        reason = _refusal(call, rule, tensors)
        if rule is None or reason:
            return self._refuse(call, tensors, reason or "it has no rule")
        tensor = tensors[0]
        why_fixed = rule.why_fixed(call.layer)
        if rule.role == "mixer":
            return self._mix(call, rule, tensor, why_fixed)
        if why_fixed:
            return self._fix(call, rule, tensor, why_fixed)
        if rule.role == "follower":
            self._meet(call.path, call.layer, rule, tensor.ids, tensor.ids)
        return Channels(rule.channels(call, tensor.ids)) if rule.channels else tensor

    def _mix(
        self, call: Call, rule: LayerRule, tensor: Channels, why_fixed: str | None
    ) -> Channels:
        known = self.traces.get(id(call.layer))
        made = Channels(known.outputs) if known else self._fresh_like(call.node.outputs)
        self._meet(call.path, call.layer, rule, tensor.ids, made.ids)
        if why_fixed:
            self.frozen.append(self._freeze(call.path, why_fixed, made))
        return made

    def _meet(
        self,
        path: str,
        layer: keras.layers.Layer,
        rule: LayerRule | None,
        inputs: IntArray,
        outputs: IntArray,
    ) -> None:
        """Notes a layer; called again, it couples what it reads with the first time."""
        known = self.traces.setdefault(
            id(layer), Trace(path, layer, rule, inputs, outputs)
        )
        self.ids.unite(known.inputs, inputs)

    def _fix(
        self, call: Call, rule: LayerRule, tensor: Channels, reason: str
    ) -> Channels:
        if rule.channels:
            return self._refuse(call, [tensor], reason)
        self.frozen.append(self._freeze(call.path, reason, tensor, quiet=rule.quiet))
        return tensor

    def _refuse(self, call: Call, tensors: list[Channels], reason: str) -> Any:
        outputs = tf.nest.map_structure(self._fresh_like, call.node.outputs)
        touched = [*tensors, *_tensors(outputs)]
        self.frozen.append(self._freeze(call.path, reason, *touched, quiet=False))
        return outputs

    def _enter(self, call: Call, args: Any, kwargs: Any, descend: Descend) -> Any:
        values = call.layer._flatten_to_reference_inputs(args[0])
        for symbolic, value in zip(call.layer.inputs, values, strict=True):
            source = symbolic._keras_history.layer
            path = f"{call.path}/{source.name}"
            self._meet(path, source, None, value.ids, value.ids)
        return descend(args[0])


def _tensors(values: Any) -> Iterator[Channels]:
    return (x for x in tf.nest.flatten(values) if isinstance(x, Channels))


def _refusal(call: Call, rule: LayerRule | None, tensors: list[Channels]) -> str | None:
    """Returns why a call is not understood; None if it is."""
    kind = type(call.layer)
    if rule is None:
        return (
            f"no rule for {kind.__module__}.{kind.__name__} "
            "(register_layer_rule teaches one)"
        )
    if len(tensors) != 1:
        return f"it is called with {len(tensors)} tensors, expected one"
    if not tensors[0].ids.size:
        return "its input has no channel axis of known length"
    return None
