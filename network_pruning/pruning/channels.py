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

from network_pruning.graph import Call, Descend, check_walkable, replay
from network_pruning.pruning.channel_ids import ChannelIds, IntArray
from network_pruning.pruning.layer_rules import (
    Channels,
    LayerRule,
    NotUnderstood,
    Site,
    rule_of,
)

_NO_IDS = np.empty(0, np.int64)


@dataclass(frozen=True)
class Trace:
    """A layer met, with the channel ids it reads and makes.

    Attributes:
        path: Of the layer.
        layer: One that changes when channels are cut, or an InputLayer of a nested
            model.
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
        check_walkable(model)
        inputs = [self._fresh_like(x) for x in model.inputs]
        outputs = list(_tensors(replay(model, inputs, self._apply, enter=self._enter)))
        ends = [
            _freeze("", "its units are the model's outputs", *outputs),
            _freeze("", "its units are tied to the model's inputs", *inputs),
        ]
        self.frozen = ends + self.frozen

    def _fresh_like(self, tensor: Any) -> Channels:
        shape = tensor.shape
        has_channels = (shape.rank or 0) > 1 and shape[-1] is not None
        return Channels(self.ids.fresh(shape[-1] if has_channels else 0), shape.rank)

    def _apply(self, call: Call, args: Any, kwargs: Any) -> Any:
        inputs = list(_tensors((args, kwargs)))
        try:
            rule = _understood(call, inputs)
            return self._read(call, rule, args, kwargs, inputs)
        except NotUnderstood as reason:
            return self._refuse(call, inputs, str(reason))

    def _read(
        self,
        call: Call,
        rule: LayerRule,
        args: Any,
        kwargs: Any,
        inputs: list[Channels],
    ) -> Channels:
        why_fixed = rule.why_fixed(call.layer)
        known = self.traces.get(id(call.layer))
        if rule.role == "mixer":
            return self._mix(call, rule, inputs[0], why_fixed)
        if why_fixed and rule.channels and rule.role == "passive":
            raise NotUnderstood(why_fixed)

        def freeze(reason: str, ids: IntArray) -> None:
            self.frozen.append(Freeze(call.path, reason, ids, quiet=True))

        before = known.outputs if known else None
        site = Site(call, args, kwargs, inputs, self.ids, before, freeze)
        made = rule.channels(site) if rule.channels else inputs[0].ids
        if why_fixed:
            self.frozen.append(Freeze(call.path, why_fixed, made, rule.quiet))
        elif rule.is_traced:
            self._meet(call.path, call.layer, rule, inputs[0].ids, made)
        return Channels(made, call.node.outputs.shape.rank)

    def _mix(
        self, call: Call, rule: LayerRule, tensor: Channels, why_fixed: str | None
    ) -> Channels:
        known = self.traces.get(id(call.layer))
        made = self._fresh_like(call.node.outputs)
        if known:
            made = Channels(known.outputs, made.rank)
        self._meet(call.path, call.layer, rule, tensor.ids, made.ids)
        if rule.couple:
            rule.couple(call.layer, self.ids, tensor.ids, made.ids)
        if why_fixed:
            self.frozen.append(_freeze(call.path, why_fixed, made))
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
        self.ids.unite(known.outputs, outputs)

    def _refuse(self, call: Call, tensors: list[Channels], reason: str) -> Any:
        outputs = tf.nest.map_structure(self._fresh_like, call.node.outputs)
        touched = [*tensors, *_tensors(outputs)]
        self.frozen.append(_freeze(call.path, reason, *touched, quiet=False))
        return outputs

    def _enter(self, call: Call, args: Any, kwargs: Any, descend: Descend) -> Any:
        values = call.layer._flatten_to_reference_inputs(args[0])
        for symbolic, value in zip(call.layer.inputs, values, strict=True):
            source = symbolic._keras_history.layer
            path = f"{call.path}/{source.name}"
            self._meet(path, source, None, value.ids, value.ids)
        return descend(args[0])


def _freeze(path: str, reason: str, *tensors: Channels, quiet: bool = True) -> Freeze:
    ids = np.concatenate([_NO_IDS, *(x.ids for x in tensors)])
    return Freeze(path, reason, ids, quiet)


def _tensors(values: Any) -> Iterator[Channels]:
    return (x for x in tf.nest.flatten(values) if isinstance(x, Channels))


def _understood(call: Call, inputs: list[Channels]) -> LayerRule:
    """Returns the rule of a call.

    Raises:
        NotUnderstood: If it has none, or the call does not fit it.
    """
    rule = rule_of(call.layer)
    if rule is None:
        raise NotUnderstood(_unknown(call.layer))
    if len(inputs) != 1 and not (rule.several and inputs):
        raise NotUnderstood(f"it is called with {len(inputs)} tensors, expected one")
    if not all(tensor.ids.size for tensor in inputs):
        raise NotUnderstood("its input has no channel axis of known length")
    reason = rule.why_unread(call.layer)
    if reason:
        raise NotUnderstood(reason)
    return rule


def _unknown(layer: keras.layers.Layer) -> str:
    kind, symbol = type(layer), getattr(layer, "symbol", None)
    if symbol:
        return f"no rule for the operator tf.{symbol}"
    return (
        f"no rule for {kind.__module__}.{kind.__name__} "
        "(register_layer_rule teaches one)"
    )
