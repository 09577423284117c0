"""A network cut in two where the units of a group are read, to judge coalitions fast.

Only what lies above the group's consumers depends on the coalition: what they read is
computed once, and each batch of coalitions replays the rest of the graph. Where the one
consumer is linear in the units (Dense, Conv2D), each unit's contribution to its
pre-activation is computed once too, and one product masks @ contributions makes a whole
batch of coalitions.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf
import tf_keras as keras

from network_pruning.classifiers import ends_in_softmax
from network_pruning.graph import Call, at_rest, carries_masks, replay
from network_pruning.losses import as_logits, full_precision
from network_pruning.pruning import contributions
from network_pruning.pruning.gates import gated_interpreter
from network_pruning.pruning.units import UnitGroup, find_groups

Value = Callable[[Any, Any], Any]
"""(logits [n, classes], labels [n]) -> value of each example [n]."""

CallKey = tuple[int, int]
"""id(layer), and how often it was called before."""

Source = tuple[CallKey, int]
"""A call and the number of its output; input i of the model is ((0, i), 0)."""

MASKS = 64
"""Coalitions in one batch, at most."""

CHUNK_IMAGES = 250
"""Images in one batch, at most."""

WORK_BYTES = 32 << 20
"""Size of the largest tensor in one batch, about."""


@dataclass(frozen=True)
class Below:
    """What all coalitions have in common, on one chunk of images.

    Attributes:
        sides: What calls that depend on the coalition read from below.
        shares: With a linear consumer: units' contributions to its pre-activation, and
            last its pre-activation without them [units + 1, n * width].
        labels: [n].
        counts: Bool [n], False for padding.
    """

    sides: list[tf.Tensor]
    shares: tf.Tensor | None
    labels: tf.Tensor
    counts: tf.Tensor

    @property
    def nbytes(self) -> int:
        """Size of the tensors."""
        held = [x for x in (*self.sides, self.shares) if x is not None]
        return sum(x.dtype.size * math.prod(x.shape) for x in held)


@dataclass(frozen=True)
class _Token:
    """Stands for a tensor while the graph is read: whence, and if masks change it."""

    source: Source
    depends: bool


@dataclass
class _Plan:
    """Which calls depend on the coalition.

    Attributes:
        layers: Ids of the layers that read the units.
        consumers: Their calls.
        reads: Call that depends on the coalition -> what it reads that does not.
        widest: Numbers per example of the largest tensor such a call makes.
    """

    layers: set[int]
    consumers: list[Call] = field(default_factory=list)
    reads: dict[CallKey, list[Source]] = field(default_factory=dict)
    widest: int = 1

    def apply(self, call: Call, args: Any, kwargs: Any) -> Any:
        """Reads one call; for `replay`.

        Returns:
            Tokens for its outputs.
        """
        tokens = [x for x in tf.nest.flatten((args, kwargs)) if isinstance(x, _Token)]
        outputs = tf.nest.flatten(call.node.outputs)
        consumes = id(call.layer) in self.layers
        depends = consumes or any(x.depends for x in tokens)
        if consumes:
            self.consumers.append(call)
        if depends:
            self.reads[_key(call)] = [x.source for x in tokens if not x.depends]
            self.widest = max(self.widest, *map(_numbers, outputs))
        made = [_Token((_key(call), i), depends) for i, _ in enumerate(outputs)]
        return tf.nest.pack_sequence_as(call.node.outputs, made)


def _key(call: Call) -> CallKey:
    return id(call.layer), call.index


def _numbers(symbolic: Any) -> int:
    return math.prod(length or 1 for length in symbolic.shape[1:])


class CutNetwork:
    """A network cut in two where the units of a group are read. No Keras object."""

    def __init__(self, model: keras.Model, group: UnitGroup, value: Value) -> None:
        if carries_masks(model):
            raise ValueError(
                f"model {model.name!r} leaves places out by Keras masks, which a "
                "network cut in two would lose: choose a criterion without coalitions, "
                "such as taylor or fisher"
            )
        self.model = model
        self.value = value
        self.groups = find_groups(model)
        self.groups.check_names([group.name])
        self.group = group
        self.plan = _Plan({id(member.layer) for member in group.consumers})
        replay(model, [_Token(((0, 0), 0), False)], self.plan.apply)
        calls = self.plan.consumers
        self._softmax = ends_in_softmax(model)
        self.linear = len(calls) == 1 and _is_linear(calls[0])
        reads = dict(self.plan.reads)
        self.entry = reads.pop(_key(calls[0]))[0] if self.linear else None
        self.sides = list(dict.fromkeys(s for found in reads.values() for s in found))
        self._below = tf.function(self._trace_below, autograph=False)
        self._above = tf.function(self._trace_above, autograph=False)

    def batch_sizes(self, n_images: int) -> tuple[int, int]:
        """Returns how many images, and how many coalitions, go in one batch."""
        widest = self.plan.widest
        shares = 1
        if self.linear:
            shares = self.group.n_units * _numbers(self.plan.consumers[0].node.outputs)
        rows = WORK_BYTES // (4 * max(widest, shares))
        rows = min(max(rows, 1), CHUNK_IMAGES, n_images)
        # Chunks of about equal size waste least on padding.
        rows = -(-n_images // -(-n_images // rows))
        masks = WORK_BYTES // (4 * rows * widest)
        return rows, min(max(masks, 1), MASKS)

    def below(self, images: tf.Tensor, labels: tf.Tensor, counts: tf.Tensor) -> Below:
        """Runs what no coalition changes.

        Returns:
            What they have in common.
        """
        sides, shares = self._below(images)
        return Below(list(sides), shares, labels, counts)

    def judge(self, masks: tf.Tensor, below: Below) -> tf.Tensor:
        """Runs the rest for some coalitions.

        Returns:
            Sum of the value over the images that count, float64 [masks].
        """
        return self._above(masks, below.sides, below.shares, below.labels, below.counts)

    def _trace_below(self, images: tf.Tensor) -> tuple[Any, Any]:
        found: dict[Source, Any] = {((0, 0), 0): images}

        def apply(call: Call, args: Any, kwargs: Any) -> Any:
            key = _key(call)
            if key in self.plan.reads:
                return tf.nest.map_structure(lambda _: None, call.node.outputs)
            outputs = call.layer(*args, **at_rest(call, kwargs))
            for i, x in enumerate(tf.nest.flatten(outputs)):
                found[key, i] = x
            return outputs

        replay(self.model, [images], apply)
        sides = [found[source] for source in self.sides]
        if self.entry is None:
            return sides, None
        layer, x = self.plan.consumers[0].layer, found[self.entry]
        units, n = self._units_read(), self.group.n_units
        shares = contributions.contributions(layer, x, units, n)
        base = tf.reshape(contributions.base(layer, x, units), [1, -1])
        return sides, tf.concat([shares, base], axis=0)

    def _units_read(self) -> npt.NDArray[np.int64]:
        layer = self.plan.consumers[0].layer
        return next(m.units for m in self.group.consumers if m.layer is layer)

    def _trace_above(
        self,
        masks: tf.Tensor,
        sides: list[tf.Tensor],
        shares: Any,
        labels: tf.Tensor,
        counts: tf.Tensor,
    ) -> tf.Tensor:
        """Returns the sums of `judge`; a row is an image under one coalition."""
        m, n = masks.shape[0], labels.shape[0]
        known = {s: _tiled(x, m) for s, x in zip(self.sides, sides, strict=True)}
        vector = self._slots(tf.repeat(masks, n, axis=0))
        gated = gated_interpreter(self.groups, vector)

        def apply(call: Call, args: Any, kwargs: Any) -> Any:
            key = _key(call)
            if key not in self.plan.reads:
                made = enumerate(tf.nest.flatten(call.node.outputs))
                values = [known.get((key, i)) for i, _ in made]
                return tf.nest.pack_sequence_as(call.node.outputs, values)
            kwargs = at_rest(call, kwargs)
            # All other units are present: masking them too would only cost time.
            if id(call.layer) not in self.plan.layers:
                return call.layer(*args, **kwargs)
            if not self.linear:
                return gated(call, args, kwargs)
            pre = _coalition_sums(masks, shares)
            pre = tf.reshape(pre, [m * n, *call.node.outputs.shape[1:]])
            return call.layer.activation(pre)

        outputs = replay(self.model, [known.get(((0, 0), 0))], apply)
        logits = self._logits(tf.nest.flatten(outputs)[0])
        values = self.value(logits, tf.tile(labels, [m]))
        values = tf.where(counts, tf.reshape(values, [m, n]), 0)
        return tf.reduce_sum(tf.cast(values, tf.float64), axis=1)

    def _logits(self, output: tf.Tensor) -> tf.Tensor:
        """Returns the network's logits; best what a final softmax was taken of."""
        if self._softmax and output.op.type == "Softmax":
            return full_precision(output.op.inputs[0])
        return as_logits(output, self._softmax)

    def _slots(self, masks: tf.Tensor) -> tf.Tensor:
        """Returns this group's masks among the units of all others, which stay."""
        names = [group.name for group in self.groups]
        sizes = [1, *(group.n_units for group in self.groups)]
        before = sum(sizes[: 1 + names.index(self.group.name)])
        after = sum(sizes) - before - self.group.n_units
        rows = masks.shape[0]
        ones = tf.ones([rows, before], tf.bool), tf.ones([rows, after], tf.bool)
        return tf.concat([ones[0], masks, ones[1]], axis=1)


def _is_linear(call: Call) -> bool:
    """Returns whether a call adds up contributions of units, of a settled size."""
    settled = None not in call.node.outputs.shape[1:]
    return settled and contributions.is_linear(call.layer)


def _coalition_sums(masks: tf.Tensor, shares: tf.Tensor) -> tf.Tensor:
    """Returns the sum of the shares present, and of the last one, for each mask."""
    last = tf.ones([masks.shape[0], 1], tf.bool)
    return tf.matmul(tf.cast(tf.concat([masks, last], axis=1), shares.dtype), shares)


def _tiled(x: tf.Tensor, times: int) -> tf.Tensor:
    return tf.tile(x, [times] + [1] * (x.shape.rank - 1))
