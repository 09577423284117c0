"""What `x + y` and tf.nn.relu leave in a graph: rules by TensorFlow's own symbol."""

from __future__ import annotations

from typing import Any

import numpy as np

from network_pruning.pruning.channel_ids import IntArray
from network_pruning.pruning.layer_rules import merges
from network_pruning.pruning.layer_rules.passives import rearranged
from network_pruning.pruning.layer_rules.rule import (
    Channels,
    LayerRule,
    NotUnderstood,
    Site,
    narrowed_padding,
    padded,
)
from network_pruning.types import BoolArray


def _elementwise(site: Site) -> IntArray:
    for value in (*site.args, *site.kwargs.values()):
        is_array = hasattr(value, "shape") or isinstance(value, list | tuple)
        if _holds_tensors(value):
            continue
        if is_array and np.ndim(value) and np.shape(value)[-1] != 1:
            raise NotUnderstood("it holds a constant by channel")
    return merges.elementwise(site)


def _holds_tensors(value: Any) -> bool:
    several = value if isinstance(value, list | tuple) else [value]
    return any(isinstance(each, Channels) for each in several)


def _resized(site: Site) -> IntArray:
    # Its list of numbers is a size, and no constant by channel.
    return site.inputs[0].ids


def _concatenated(site: Site) -> IntArray:
    tensors = site.argument(0, "values")
    if not all(isinstance(tensor, Channels) for tensor in tensors):
        raise NotUnderstood("it joins a constant")
    return merges.joined(site, tensors, int(site.argument(1, "axis")))


def _reduced(site: Site) -> IntArray:
    # A global average written by hand passes; the channel axis must not be reduced.
    rank = site.inputs[0].rank
    axes = site.argument(1, "axis")
    if axes is None or rank - 1 in {axis % rank for axis in np.ravel(axes)}:
        raise NotUnderstood("it reduces the channel axis")
    return site.inputs[0].ids


def _transposed(site: Site) -> IntArray:
    rank, perm = site.inputs[0].rank, site.argument(1, "perm")
    if perm is None or list(perm)[-1] != rank - 1:
        raise NotUnderstood("it moves the channel axis")
    return site.inputs[0].ids


def _sliced(site: Site) -> IntArray:
    spec = site.argument(1, "slice_spec")
    spec = list(spec) if isinstance(spec, list | tuple) else [spec]
    if not all(_is_axis_added(entry) or _is_read(entry) for entry in spec):
        raise NotUnderstood("it slices by more than start, stop, step and numbers")
    last = _spelled_out(spec, site.inputs[0].rank)[-1]
    if _is_axis_added(last):
        raise NotUnderstood("it moves the channel axis")
    if _is_number(last) or any(_bounds(last)):
        raise NotUnderstood("it slices the channel axis")
    return site.inputs[0].ids


def _spelled_out(spec: list[Any], rank: int) -> list[Any]:
    """Returns a slice's entries, those of the axes that it leaves unsaid among them."""
    read = [entry for entry in spec if _is_read(entry) and entry is not Ellipsis]
    unsaid = [slice(None)] * (rank - len(read))
    at = spec.index(Ellipsis) if Ellipsis in spec else len(spec)
    return [*spec[:at], *unsaid, *spec[at + 1 :]]


def _is_axis_added(entry: Any) -> bool:
    return entry is None


def _is_read(entry: Any) -> bool:
    return entry is Ellipsis or isinstance(entry, dict | slice) or _is_number(entry)


def _is_number(entry: Any) -> bool:
    return isinstance(entry, int | np.integer)


def _bounds(entry: Any) -> list[bool]:
    values = (
        [entry.start, entry.stop, entry.step]
        if isinstance(entry, slice)
        else list(entry.values())
    )
    return [value is not None for value in values]


def _squeezed(site: Site) -> IntArray:
    rank, axes = site.inputs[0].rank, site.argument(1, "axis")
    if axes is None:
        raise NotUnderstood("it names no axis, and would take one of a single channel")
    if rank - 1 in {axis % rank for axis in np.ravel(axes)}:
        raise NotUnderstood("it takes the channel axis away")
    return site.inputs[0].ids


def _pooled(site: Site) -> IntArray:
    if str(site.argument(4, "data_format")).startswith("NC"):
        raise NotUnderstood("its channels come first")
    for position, name in enumerate(("ksize", "strides"), 1):
        sides = np.ravel(site.argument(position, name))
        # One number is of all places; else there is one of the batch and the channels.
        if len(sides) == site.inputs[0].rank and sides[-1] != 1:
            raise NotUnderstood("it pools channels")
    return site.inputs[0].ids


def _expanded(site: Site) -> IntArray:
    rank, axis = site.inputs[0].rank, site.argument(1, "axis")
    if axis is None or axis % (rank + 1) == rank:
        raise NotUnderstood("it moves the channel axis")
    return site.inputs[0].ids


def _reshaped(site: Site) -> IntArray:
    return rearranged(site.inputs[0].ids, site.call.node.outputs.shape[-1])


def _narrow_reshape(
    args: Any, kwargs: Any, _: BoolArray, kept: BoolArray
) -> tuple[Any, Any]:
    shape = args[1] if len(args) > 1 else kwargs["shape"]
    *before, last = shape
    if last == -1:
        return args, kwargs
    return (args[0], [*before, int(np.count_nonzero(kept))]), {}


def _padded(site: Site) -> IntArray:
    paddings = np.asarray(site.argument(1, "paddings"))
    left, right = paddings[-1]
    if not left and not right:
        return site.inputs[0].ids
    if str(site.argument(2, "mode", "CONSTANT")).upper() != "CONSTANT":
        raise NotUnderstood("it mirrors channels")
    return padded(site, int(left), int(right))


def _narrow_padding(
    args: Any, kwargs: Any, kept_in: BoolArray, kept: BoolArray
) -> tuple[Any, Any]:
    paddings = args[1] if len(args) > 1 else kwargs["paddings"]
    *before, (left, right) = [list(pair) for pair in paddings]
    narrowed = [*before, list(narrowed_padding(left, right, kept))]
    if len(args) > 1:
        return (args[0], narrowed, *args[2:]), kwargs
    return args, {**kwargs, "paddings": narrowed}


_PLAIN = LayerRule(role="passive", channels=_elementwise)
_BINARY = LayerRule(role="passive", channels=_elementwise, several=True)
_PAD = LayerRule(role="passive", channels=_padded, narrow_call=_narrow_padding)
_RESHAPE = LayerRule(role="passive", channels=_reshaped, narrow_call=_narrow_reshape)
_REDUCTION = LayerRule(role="passive", channels=_reduced)

OPERATORS: dict[str, LayerRule] = {
    **dict.fromkeys(
        (
            *("__operators__.add", "math.add", "math.subtract", "math.multiply"),
            *("math.truediv", "math.divide", "math.maximum", "math.minimum"),
            *("math.add_n", "math.squared_difference", "math.pow"),
        ),
        _BINARY,
    ),
    **dict.fromkeys(
        (
            *("nn.relu", "nn.relu6", "nn.elu", "nn.selu", "nn.gelu", "nn.silu"),
            *("nn.leaky_relu", "nn.softplus", "nn.softsign", "nn.tanh", "nn.sigmoid"),
            *("math.sigmoid", "math.tanh", "math.softplus", "math.softsign"),
            *("math.abs", "math.square", "math.sqrt", "math.exp", "math.negative"),
            *("math.erf", "math.log", "math.log1p", "math.rsqrt", "math.sign"),
            *("clip_by_value", "cast", "identity", "stop_gradient", "nn.bias_add"),
        ),
        _PLAIN,
    ),
    **dict.fromkeys(
        (
            *("math.reduce_mean", "math.reduce_max", "math.reduce_sum"),
            *("math.reduce_min", "math.reduce_variance", "math.reduce_std"),
        ),
        _REDUCTION,
    ),
    **dict.fromkeys(
        (
            *("nn.max_pool", "nn.max_pool1d", "nn.max_pool2d", "nn.max_pool3d"),
            *("nn.avg_pool", "nn.avg_pool1d", "nn.avg_pool2d", "nn.avg_pool3d"),
        ),
        LayerRule(role="passive", channels=_pooled),
    ),
    **dict.fromkeys(
        ("squeeze", "compat.v1.squeeze"), LayerRule(role="passive", channels=_squeezed)
    ),
    **dict.fromkeys(("pad", "compat.v1.pad"), _PAD),
    **dict.fromkeys(
        ("transpose", "compat.v1.transpose"),
        LayerRule(role="passive", channels=_transposed),
    ),
    "concat": LayerRule(role="passive", channels=_concatenated, several=True),
    "reshape": _RESHAPE,
    "image.resize": LayerRule(role="passive", channels=_resized),
    "expand_dims": LayerRule(role="passive", channels=_expanded),
    "__operators__.getitem": LayerRule(role="passive", channels=_sliced),
}
"""TensorFlow's symbol -> rule."""
