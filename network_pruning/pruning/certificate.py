"""Proves that a shrunk network computes what the masked one does.

The logits alone are nearly blind, so every mixer and BatchNormalization is compared on
its kept channels, each against its own maximum, and every weight bit by bit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf
import tf_keras as keras

from network_pruning.graph import Apply, Call, leaf_layers, replay
from network_pruning.pruning.gates import gated_interpreter
from network_pruning.pruning.layer_rules import rule_of
from network_pruning.pruning.slices import sliced_weights
from network_pruning.pruning.units import Groups, find_groups
from network_pruning.types import BoolArray, Masks

TOLERANCE = 1e-5
"""Of a layer's own maximum; float32 rounding alone stays below 1e-6."""

OUTPUT = "the model's output"
Taps = dict[str, npt.NDArray[Any]]
_NOTHING = np.empty(0)


class CertificateError(ValueError):
    """The shrunk network is not the masked one."""


@dataclass(frozen=True)
class Certificate:
    """How far a shrunk network is from the masked one.

    Attributes:
        max_abs_diff: Largest difference of any output compared.
        max_rel_diff: Largest difference, divided by the maximum of its own output.
        weights_equal: Whether every new weight is exactly a slice of the old one.
        where: Path of the weight that differs, or of the output with the largest
            relative difference.
        n_inputs: Examples compared.
        tolerance: Bound on `max_rel_diff`.
        ok: Whether both hold.
    """

    max_abs_diff: float
    max_rel_diff: float
    weights_equal: bool
    where: str
    n_inputs: int
    tolerance: float = TOLERANCE

    @property
    def ok(self) -> bool:
        """Whether weights are slices and outputs agree."""
        return self.weights_equal and self.max_rel_diff <= self.tolerance

    def require(self) -> Certificate:
        """Insists on it.

        Returns:
            The certificate itself.

        Raises:
            CertificateError: If it is not ok.
        """
        if not self.weights_equal:
            raise CertificateError(
                f"certificate: the weight {self.where!r} of the shrunk network is no "
                "slice of the original's, expected the network shrink() made of this "
                "model and these masks."
            )
        if not self.ok:
            raise CertificateError(
                f"certificate: got a difference of {self.max_rel_diff:.2g} of the "
                f"maximum at {self.where!r}, expected at most {self.tolerance:.0e}; "
                "use the masked network and report the model."
            )
        return self


@dataclass
class _Worst:
    """Differences of one output over all batches."""

    diff: float = 0.0
    size: float = 0.0

    def add(self, expected: Any, got: Any) -> None:
        if expected.shape != got.shape:
            self.diff = np.inf
            return
        same = expected == got
        diff = np.abs(np.where(same, 0, expected) - np.where(same, 0, got))
        self.diff = float(np.max([self.diff, diff.max(initial=0)]))
        self.size = max(self.size, float(np.abs(expected).max(initial=0)))

    @property
    def relative(self) -> float:
        if np.isnan(self.diff):
            return np.inf
        if self.diff == 0:
            return 0.0
        return self.diff / self.size if 0 < self.size < np.inf else np.inf


def certify(
    model: keras.Model,
    masks: Masks,
    small: keras.Model,
    inputs: Any,
    *,
    batch_size: int = 64,
) -> Certificate:
    """Compares a shrunk network with the masked original.

    Args:
        model: The original.
        masks: Bool [n_units] by group name, those `small` was cut with.
        small: What `shrink(model, masks)` made.
        inputs: Examples [n, ...], in the structure of the model's inputs; real ones
            and random ones both say something.
        batch_size: Examples per forward pass.

    Returns:
        The certificate; `.require()` raises if it is not ok.

    Raises:
        ValueError: If a mask does not fit, or there are no inputs.
    """
    groups = find_groups(model)
    vector = groups.vector(masks)
    n = len(tf.nest.flatten(inputs)[0])
    if n == 0:
        raise ValueError("inputs: got no example, expected at least one.")
    worst: dict[str, _Worst] = {}
    for start in range(0, n, batch_size):
        batch = tf.nest.map_structure(
            lambda x, s=start: tf.convert_to_tensor(x[s : s + batch_size]), inputs
        )
        expected = _taps_of_masked(model, groups, vector, batch)
        got = _taps(small, batch, _as_it_is)
        for key in expected.keys() | got.keys():
            pair = expected.get(key, _NOTHING), got.get(key, _NOTHING)
            worst.setdefault(key, _Worst()).add(*pair)
    where = max(sorted(worst), key=lambda key: worst[key].relative)
    wrong = _wrong_weight(model, groups, vector, small)
    return Certificate(
        max_abs_diff=float(np.max([w.diff for w in worst.values()])),
        max_rel_diff=worst[where].relative,
        weights_equal=wrong is None,
        where=wrong or where.rpartition(":")[0],
        n_inputs=n,
    )


def _as_it_is(call: Call, args: Any, kwargs: Any) -> Any:
    return call.layer(*args, **kwargs)


def _taps_of_masked(
    model: keras.Model, groups: Groups, vector: BoolArray, batch: Any
) -> Taps:
    """Returns the taps of the masked original, on the kept channels."""
    keep = {
        key: vector[channels.outputs]
        for key, channels in groups.channels.items()
        if not vector[channels.outputs].all()
    }
    return _taps(model, batch, gated_interpreter(groups, tf.constant(vector)), keep)


def _taps(
    model: keras.Model,
    batch: Any,
    apply: Apply,
    keep: Mapping[int, BoolArray] | None = None,
) -> Taps:
    """Runs a network and listens.

    Args:
        model: The network.
        batch: Its inputs.
        apply: Calls a layer.
        keep: id(layer) -> channels listened to; None listens to all.

    Returns:
        Outputs of the mixers and followers by "path:call", and of the model.
    """
    taps: Taps = {}

    def listen(call: Call, args: Any, kwargs: Any) -> Any:
        value = apply(call, args, kwargs)
        rule = rule_of(call.layer)
        if rule is not None and rule.role != "passive":
            heard = value.numpy()
            if keep and id(call.layer) in keep:
                heard = np.compress(keep[id(call.layer)], heard, axis=-1)
            taps[f"{call.path}:{call.index}"] = heard
        return value

    outputs = replay(model, batch, listen)
    for i, value in enumerate(tf.nest.flatten(outputs)):
        taps[f"{OUTPUT}:{i}"] = value.numpy()
    return taps


def _wrong_weight(
    model: keras.Model, groups: Groups, vector: BoolArray, small: keras.Model
) -> str | None:
    """Returns the path of a weight that is no slice of the original's, or None."""
    layers = dict(leaf_layers(small))
    for path, layer in leaf_layers(model):
        slices = sliced_weights(layer, groups.channels.get(id(layer)), vector)
        weights = layers[path].weights if path in layers else []
        if len(weights) != len(slices):
            return path
        for weight, expected in zip(weights, slices, strict=True):
            got = weight.numpy()
            if got.shape != expected.shape or got.tobytes() != expected.tobytes():
                return f"{path}/{weight.name.rpartition('/')[2].partition(':')[0]}"
    return None
