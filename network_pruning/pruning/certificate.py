"""Proves that a shrunk network computes what the masked one does.

The logits alone are nearly blind, so every mixer and BatchNormalization is compared on
its kept channels, each against its own maximum, and every weight bit by bit. Where
rounding alone could explain a difference, float64 decides: there it vanishes, and a
defect does not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf
import tf_keras as keras

from network_pruning.graph import (
    Apply,
    Call,
    at_rest,
    call_layer,
    leaf_layers,
    replay,
)
from network_pruning.pruning.gates import gated_interpreter
from network_pruning.pruning.layer_rules import rule_of
from network_pruning.pruning.slices import sliced_weights
from network_pruning.pruning.units import Groups, find_groups
from network_pruning.ranges import check_whole
from network_pruning.twins import NoTwin, Twins, check_twins, in_precision
from network_pruning.types import BoolArray, Masks

TOLERANCE = 1e-5
"""Of a layer's own maximum; float32 rounding seldom comes near."""
HOPELESS = 0.1
"""Likewise; a difference above that rounding does not explain."""

PROOF_IMAGES = 256
"""On which a cut is proven, unless there is reason to take others."""
OUTPUT = "the model's output"
_NOT_MADE_AGAIN = (
    *(NoTwin, KeyError, NotImplementedError, TypeError, ValueError),
    tf.errors.OpError,
)
Taps = dict[str, npt.NDArray[Any]]
_NOTHING = np.empty(0)


class CertificateError(ValueError):
    """The shrunk network is not the masked one."""

    exit_code = 1


@dataclass(frozen=True)
class Certificate:
    """How far a shrunk network is from the masked one.

    Attributes:
        max_abs_diff: Largest difference of any output compared, in `precision`.
        max_rel_diff: Largest difference, divided by the maximum of its own output.
        weights_equal: Whether every new weight is exactly a slice of the old one.
        where: Path of the weight that differs, or of the output with the largest
            relative difference.
        n_inputs: Examples compared.
        precision: In which the networks were compared: the type of their outputs, or
            float64 if that was needed to tell rounding from a defect.
        own_rel_diff: `max_rel_diff` as the networks themselves compute.
        tolerance: Bound on `max_rel_diff`.
        ok: Whether weights are slices and outputs agree.
    """

    max_abs_diff: float
    max_rel_diff: float
    weights_equal: bool
    where: str
    n_inputs: int
    precision: str
    own_rel_diff: float
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
                f"maximum at {self.where!r} ({self.precision}), expected at most "
                f"{self.tolerance:.0e}; use the masked network and report the model."
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


@dataclass
class _Comparison:
    """Differences of two networks, output by output."""

    worst: dict[str, _Worst] = field(default_factory=dict)

    def add(self, expected: Taps, got: Taps) -> None:
        for key in expected.keys() | got.keys():
            pair = expected.get(key, _NOTHING), got.get(key, _NOTHING)
            self.worst.setdefault(key, _Worst()).add(*pair)

    @property
    def place(self) -> str:
        """Key of the output with the largest relative difference."""
        return max(sorted(self.worst), key=lambda key: self.worst[key].relative)

    @property
    def relative(self) -> float:
        return self.worst[self.place].relative

    @property
    def absolute(self) -> float:
        return float(np.max([worst.diff for worst in self.worst.values()]))


@dataclass(frozen=True)
class _Side:
    """A network that is run and listened to.

    Attributes:
        model: The network.
        masked: run -> the interpreter that runs it, masked or as it is.
        keep: id(layer) -> channels listened to; other layers are heard whole.
    """

    model: keras.Model
    masked: Callable[[Apply], Apply] = lambda run: run
    keep: Mapping[int, BoolArray] = field(default_factory=dict)

    def taps(self, batch: Any, run: Apply = call_layer) -> Taps:
        """Runs the network.

        Args:
            batch: Its inputs.
            run: Calls a layer.

        Returns:
            Outputs of the mixers and followers by "path:call", and of the model.
        """
        taps: Taps = {}
        apply = self.masked(run)

        def listen(call: Call, args: Any, kwargs: Any) -> Any:
            value = apply(call, args, at_rest(call, kwargs))
            rule = rule_of(call.layer)
            if rule is not None and rule.role != "passive":
                heard = value.numpy()
                if id(call.layer) in self.keep:
                    heard = np.compress(self.keep[id(call.layer)], heard, axis=-1)
                taps[f"{call.path}:{call.index}"] = heard
            return value

        outputs = replay(self.model, batch, listen)
        for i, value in enumerate(tf.nest.flatten(outputs)):
            taps[f"{OUTPUT}:{i}"] = value.numpy()
        return taps


def certify(
    model: keras.Model,
    masks: Masks,
    small: keras.Model,
    inputs: Any,
    *,
    batch_size: int = 64,
) -> Certificate:
    """Compares a shrunk network with the masked original.

    Both run as they are, in inference. Where they differ by more than the tolerance,
    though every weight is a slice and rounding could explain it, their layers are made
    again in float64 and compared instead, provided that config and weights say all of a
    layer.

    Args:
        model: The original.
        masks: Bool [n_units] by group name, those `small` was cut with.
        small: What `shrink(model, masks)` made.
        inputs: Examples [n, ...], in the structure of the model's inputs, cast to
            their types as Keras does; real ones and random ones both say something.
        batch_size: Examples per forward pass.

    Returns:
        The certificate; `.require()` raises if it is not ok.

    Raises:
        ValueError: If a mask does not fit, the inputs are none or not the model's, or
            the batch size is no positive whole number.
    """
    check_whole({"batch_size": batch_size}, 1)
    groups = find_groups(model)
    vector = groups.vector(masks)
    inputs, n = _checked_inputs(model, inputs)
    batches = [
        tf.nest.map_structure(lambda x, s=start: x[s : s + batch_size], inputs)
        for start in range(0, n, batch_size)
    ]
    sides = _masked_side(model, groups, vector), _Side(small)
    own, precision = _Comparison(), ""
    for batch in _tensors(batches):
        expected, got = (side.taps(batch) for side in sides)
        own.add(expected, got)
        precision = expected[f"{OUTPUT}:0"].dtype.name
    wrong = _wrong_weight(model, groups, vector, small)
    verdict = own
    if wrong is None and TOLERANCE < own.relative <= HOPELESS:
        double = _in_double(sides, batches)
        if double is not None:
            verdict, precision = double, "float64"
    return Certificate(
        max_abs_diff=verdict.absolute,
        max_rel_diff=verdict.relative,
        weights_equal=wrong is None,
        where=wrong or verdict.place.rpartition(":")[0],
        n_inputs=n,
        precision=precision,
        own_rel_diff=own.relative,
    )


def _checked_inputs(model: keras.Model, inputs: Any) -> tuple[Any, int]:
    """Casts examples to the types of a model's inputs.

    Returns:
        The arrays in their structure, and how many examples they hold.

    Raises:
        ValueError: If they are not what the model takes, or none.
    """
    arrays = [np.asarray(x) for x in tf.nest.flatten(inputs)]
    expected = [(None, *x.shape[1:]) for x in model.inputs]
    fits = len(arrays) == len(expected) and all(
        tf.TensorShape(shape).is_compatible_with(x.shape)
        for x, shape in zip(arrays, expected, strict=True)
    )
    if not fits or len({len(x) for x in arrays}) != 1:
        raise ValueError(
            f"inputs: got {[list(x.shape) for x in arrays]}, expected "
            f"{[list(shape) for shape in expected]}, as many examples of each."
        )
    if not len(arrays[0]):
        raise ValueError("inputs: got no example, expected at least one.")
    cast = [
        x.astype(symbolic.dtype.as_numpy_dtype, copy=False)
        for x, symbolic in zip(arrays, model.inputs, strict=True)
    ]
    return tf.nest.pack_sequence_as(inputs, cast), len(arrays[0])


def _tensors(batches: list[Any]) -> Iterable[Any]:
    return (tf.nest.map_structure(tf.convert_to_tensor, batch) for batch in batches)


def _masked_side(model: keras.Model, groups: Groups, vector: BoolArray) -> _Side:
    """Returns the masked original, heard on the kept channels."""
    keep = {
        key: vector[channels.outputs]
        for key, channels in groups.channels.items()
        if not vector[channels.outputs].all()
    }
    slots = tf.constant(vector)
    return _Side(model, lambda run: gated_interpreter(groups, slots, run), keep)


def _in_double(sides: tuple[_Side, _Side], batches: list[Any]) -> _Comparison | None:
    """Compares two networks in float64.

    Returns:
        The comparison; None if a layer cannot be made again, or not as it is.
    """
    runs = [Twins() for _ in sides]
    verdict = _Comparison()
    try:
        for batch in _tensors(batches[:1]):
            for side in sides:
                side.taps(batch, check_twins)
        for batch in _tensors(batches):
            pairs = zip(sides, runs, strict=True)
            batch = in_precision(batch, tf.float64)
            verdict.add(*(side.taps(batch, run) for side, run in pairs))
    except _NOT_MADE_AGAIN:
        return None
    return verdict


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
