"""Multiply-accumulates of a network, counted from its graph.

A MAC is one multiply-accumulate of a kernel, for one example; biases, normalisation,
activations, pooling, elementwise arithmetic, embedding look-ups and custom layers
without weights count 0; products with zeros of the padding count. A network that
multiplies in a way without a rule has no number rather than too small a one.
"""

from __future__ import annotations

import collections
import itertools
import logging
import math
from collections.abc import Callable
from typing import Any

import tensorflow as tf
import tf_keras as keras

from network_pruning import graph

log = logging.getLogger(__name__)
layers = keras.layers

Shape = tuple[Any, ...]
MacRule = Callable[[Any, Shape, Shape], int]


def _at_every_output(layer: Any, _: Shape, out: Shape) -> int:
    return math.prod(layer.kernel.shape) * _positions(layer, out)


def _at_every_input(layer: Any, inputs: Shape, _: Shape) -> int:
    return math.prod(layer.kernel.shape) * _positions(layer, inputs)


def _depthwise(layer: Any, _: Shape, out: Shape) -> int:
    return math.prod(layer.depthwise_kernel.shape) * _positions(layer, out)


def _separable(layer: Any, inputs: Shape, out: Shape) -> int:
    pointwise = math.prod(layer.pointwise_kernel.shape) * _positions(layer, out)
    return _depthwise(layer, inputs, out) + pointwise


def _locally_connected(layer: Any, inputs: Shape, out: Shape) -> int:
    # Not from its kernel: some implementations pad it with zeros they then skip.
    first = layer.data_format == "channels_first"
    window = math.prod(layer.kernel_size) * inputs[1 if first else -1]
    return window * layer.filters * _positions(layer, out)


def _einsum(layer: Any, _: Shape, out: Shape) -> int:
    # Each output sums over the axes of the kernel that it does not have.
    operands, result = layer.equation.split("->")
    axes = zip(operands.split(",")[1], layer.kernel.shape, strict=True)
    return math.prod(out[1:]) * math.prod(n for axis, n in axes if axis not in result)


def _free(*_: Any) -> int:
    return 0


def _positions(layer: Any, shape: Shape) -> int:
    first = getattr(layer, "data_format", "channels_last") == "channels_first"
    return math.prod(shape[2:] if first else shape[1:-1])


MAC_RULES: dict[type, MacRule] = {
    layers.Dense: _at_every_output,
    layers.Conv1D: _at_every_output,
    layers.Conv2D: _at_every_output,
    layers.Conv3D: _at_every_output,
    layers.Conv1DTranspose: _at_every_input,
    layers.Conv2DTranspose: _at_every_input,
    layers.Conv3DTranspose: _at_every_input,
    layers.DepthwiseConv1D: _depthwise,
    layers.DepthwiseConv2D: _depthwise,
    layers.SeparableConv1D: _separable,
    layers.SeparableConv2D: _separable,
    layers.LocallyConnected1D: _locally_connected,
    layers.LocallyConnected2D: _locally_connected,
    layers.EinsumDense: _einsum,
    layers.BatchNormalization: _free,
    layers.experimental.SyncBatchNormalization: _free,
    layers.GroupNormalization: _free,
    layers.LayerNormalization: _free,
    layers.Normalization: _free,
    layers.PReLU: _free,
    layers.Embedding: _free,
}
"""Layer class -> (layer, input shape, output shape) -> MACs; exact class.

Shapes as the graph has them, batch first. A transposed convolution multiplies its
kernel at every position of its input, any other at every position of its output.
"""

_PRODUCTS = (layers.Dot, layers.Attention, layers.AdditiveAttention)
_PRODUCT_OPS = (
    *("matmul", "matvec", "einsum", "tensordot"),
    *("conv1d", "conv2d", "conv3d", "convolution", "conv_transpose"),
)
"""In the names of the TensorFlow functions that are more than elementwise."""


def count_macs(model: keras.Model) -> int | None:
    """Counts the multiply-accumulates of one example, by `MAC_RULES`.

    Args:
        model: Functional or Sequential, of known shapes.

    Returns:
        Their number, a shared layer counted at each call; None, with the reason
        logged, if a layer with weights has no rule, tensors are multiplied with each
        other, or shapes are open.
    """
    counts = macs_by_layer(model)
    return None if counts is None else sum(counts.values())


def macs_by_layer(model: keras.Model) -> dict[int, int] | None:
    """Counts the multiply-accumulates of one example, layer by layer.

    Returns:
        Their number by id(layer), over all calls of a shared layer; None where
        `count_macs` has none.
    """
    counts: collections.Counter[int] = collections.Counter()
    reasons: list[str] = []
    shapes = _shapes(model)

    def apply(call: graph.Call, args: Any, kwargs: Any) -> Any:
        count = _macs(call, *shapes[id(call.layer), call.index])
        if isinstance(count, str):
            reasons.append(count)
        else:
            counts[id(call.layer)] += count
        return tf.nest.map_structure(lambda _: 0, call.node.outputs)

    graph.replay(model, [0] * len(model.inputs), apply)
    if reasons:
        log.warning("%s: no MACs: %s.", model.name, "; ".join(reasons))
        return None
    return dict(counts)


def _shapes(model: keras.Model) -> dict[tuple[int, int], tuple[Shape, Shape]]:
    """Reads the shapes of every call's first input and first output.

    Inside a nested model of open shape the graph holds none: the network is traced
    then, from the shapes of its own inputs.

    Returns:
        (input shape, output shape), batch first, by (id(layer), number of the call).
    """
    found: dict[tuple[int, int], tuple[Shape, Shape]] = {}

    def note(call: graph.Call, inputs: Any, outputs: Any) -> None:
        ends = [x for x in tf.nest.flatten(inputs) if hasattr(x, "shape")][:1]
        ends += tf.nest.flatten(outputs)[:1]
        found[id(call.layer), call.index] = _shape(ends[0]), _shape(ends[-1])

    def run(call: graph.Call, args: Any, kwargs: Any) -> Any:
        outputs = call.layer(*args, **kwargs)
        note(call, (args, kwargs), outputs)
        return outputs

    for call in graph.calls_of(model):
        note(call, call.node.keras_inputs, call.node.outputs)
    inside = itertools.chain.from_iterable(found.values())
    if any(map(_is_open, map(_shape, model.inputs))) or not any(map(_is_open, inside)):
        return found
    specs = tf.nest.map_structure(
        lambda x: tf.TensorSpec(x.shape, x.dtype), model._nested_inputs
    )
    trace = tf.function(lambda x: graph.replay(model, x, run), autograph=False)
    trace.get_concrete_function(specs)
    return found


def _shape(x: Any) -> Shape:
    return (None, None) if x.shape.rank is None else tuple(x.shape)


def _is_open(shape: Shape) -> bool:
    return None in shape[1:]


def _macs(call: graph.Call, inputs: Shape, outputs: Shape) -> int | str:
    layer = call.layer
    harmless = not layer.weights and not _multiplies(layer)
    rule = MAC_RULES.get(type(layer), _free if harmless else None)
    if rule is None:
        return f"no rule for {call.path} ({type(layer).__name__})"
    if rule is _free:
        return 0
    if _is_open(inputs) or _is_open(outputs):
        return f"{call.path} has open shapes {inputs} -> {outputs}"
    return rule(layer, inputs, outputs)


def _multiplies(layer: keras.layers.Layer) -> bool:
    """Returns whether a layer without weights is known to sum up products."""
    # A TensorFlow function called on symbolic tensors is a layer that names it.
    function = str(getattr(layer, "symbol", ""))
    named = any(op in function for op in _PRODUCT_OPS)
    return isinstance(layer, _PRODUCTS) or named
