"""The cost card: what any network costs and how well it does, in one record.

All but the latency is the same in every process. Conventions: a MAC is one
multiply-accumulate of a kernel, for one example; biases, normalisation, activations,
pooling, elementwise arithmetic, embedding look-ups and custom layers without weights
count 0; products with zeros of the padding count. A network that multiplies in a way
without a rule has no number rather than too small a one. Sizes are those of the network
alone, without optimizer state, and include its layer names.
"""

from __future__ import annotations

import collections
import io
import itertools
import json
import logging
import math
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras

from network_pruning import graph
from network_pruning.evaluation import metrics
from network_pruning.evaluation.latency import Latency, measure
from network_pruning.evaluation.predict import predict_split
from network_pruning.evaluation.sparse import gzipped_size
from network_pruning.evaluation.tflite import to_tflite
from network_pruning.types import Dataset, FloatArray

log = logging.getLogger(__name__)
layers = keras.layers

CALIBRATION = 100
"""Examples that calibrate the int8 file."""


@dataclass(frozen=True)
class CostCard:
    """What a network costs and how well it does.

    Attributes:
        params: Trainable weights.
        nonzeros: Nonzero entries among them.
        macs: Multiply-accumulates for one example; none if a layer has no rule.
        keras_bytes: Size of the .keras file.
        gzip_bytes: Size of its members, gzipped.
        tflite_bytes: Size of the float32 LiteRT file; none if there is no such form.
        tflite_int8_bytes: Size of the int8 LiteRT file; likewise.
        accuracy: In [0, 1]; this and the next three are none without data.
        cross_entropy: Mean, nats, no penalty.
        nll: Mean, nats.
        ece: 15 equal-width bins.
        latency: Timed values, or none.
    """

    params: int
    nonzeros: int
    macs: int | None
    keras_bytes: int
    gzip_bytes: int
    tflite_bytes: int | None
    tflite_int8_bytes: int | None
    accuracy: float | None = None
    cross_entropy: float | None = None
    nll: float | None = None
    ece: float | None = None
    latency: Latency | None = None


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


@dataclass(frozen=True)
class Exports:
    """A network as the files it is delivered in.

    Attributes:
        keras: Content of the .keras file, without optimizer.
        tflite: Of the float32 LiteRT file; none if there is no such form.
        tflite_int8: Of the int8 LiteRT file; likewise.
    """

    keras: bytes
    tflite: bytes | None
    tflite_int8: bytes | None


def export(model: keras.Model, data: Dataset | None = None) -> Exports:
    """Converts a network to every form it is delivered in.

    Args:
        model: Images -> logits [n, classes].
        data: Its first training images calibrate int8; without it, uniform pixels in
            [0, 1] from a fixed seed do.

    Returns:
        The files.
    """
    calibration = _calibration(model, data)
    return Exports(
        keras=_archive(model),
        tflite=_converted(model),
        tflite_int8=_converted(model, int8=True, representative=calibration),
    )


def cost_card(
    model: keras.Model,
    data: Dataset | None = None,
    latency: bool = True,
    split: str = "test",
    exports: Exports | None = None,
) -> CostCard:
    """Weighs, counts and times a network; and judges it, given data.

    Args:
        model: Images -> logits [n, classes].
        data: Judges the network on `split` and calibrates int8 with its first training
            images. Without it no quality is filled in, and int8 is calibrated on
            uniform pixels in [0, 1] from a fixed seed.
        latency: Whether to time it; the only field that differs between runs.
        split: train, valid or test.
        exports: What `export` made of this model, to spare making it again.

    Returns:
        The card.

    Raises:
        ValueError: If the model has no graph to walk; or, given data, if it gives no
            single row of logits an image.
    """
    graph.check_walkable(model)
    if data is not None:
        graph.check_classifier(model)
    exports = exports or export(model, data)
    tflite, int8 = exports.tflite, exports.tflite_int8
    return CostCard(
        params=count_params(model),
        nonzeros=count_nonzeros(model),
        macs=count_macs(model),
        keras_bytes=len(exports.keras),
        gzip_bytes=_gzipped_members(exports.keras),
        tflite_bytes=None if tflite is None else len(tflite),
        tflite_int8_bytes=None if int8 is None else len(int8),
        latency=measure(model, tflite) if latency and tflite is not None else None,
        **({} if data is None else _quality(model, data, split)),
    )


def count_params(model: keras.Model) -> int:
    """Counts trainable weights.

    Args:
        model: Any built model.

    Returns:
        Entries of its trainable weights; moving statistics are not among them.
    """
    return sum(math.prod(w.shape) for w in model.trainable_weights)


def count_nonzeros(model: keras.Model) -> int:
    """Counts the nonzero ones among the trainable weights.

    Args:
        model: Any built model.

    Returns:
        Their number.
    """
    return sum(int(np.count_nonzero(w.numpy())) for w in model.trainable_weights)


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

    def read(call: graph.Call, args: Any, kwargs: Any) -> Any:
        note(call, call.node.keras_inputs, call.node.outputs)
        return call.node.outputs

    def run(call: graph.Call, args: Any, kwargs: Any) -> Any:
        outputs = call.layer(*args, **kwargs)
        note(call, (args, kwargs), outputs)
        return outputs

    graph.replay(model, model._nested_inputs, read)
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


def keras_bytes(model: keras.Model) -> int:
    """Measures the .keras file of a network.

    Args:
        model: Any built model; its compilation is left out.

    Returns:
        Size in bytes.
    """
    return len(_archive(model))


def gzip_bytes(model: keras.Model) -> int:
    """Measures what gzip (level 6) makes of the members of the .keras file.

    Args:
        model: Any built model; its compilation is left out.

    Returns:
        Size in bytes; the same on every day, since the date of saving is left out.
    """
    return _gzipped_members(_archive(model))


def _quality(model: keras.Model, data: Dataset, split: str) -> dict[str, float]:
    logits, labels = predict_split(model, data, split)
    return {
        "accuracy": metrics.accuracy(logits, labels),
        "cross_entropy": metrics.cross_entropy(logits, labels),
        "nll": metrics.nll(logits, labels),
        "ece": metrics.ece(logits, labels),
    }


def _calibration(model: keras.Model, data: Dataset | None) -> FloatArray:
    if data is not None:
        images, _ = next(iter(data.batches("train", CALIBRATION)))
        return images.numpy()
    shape = (CALIBRATION, *model.inputs[0].shape[1:])
    return np.random.default_rng(0).random(shape, np.float32)


def _converted(model: keras.Model, **options: Any) -> bytes | None:
    try:
        return to_tflite(model, **options)
    except ValueError as error:
        log.warning("%s", error)
        return None


def _archive(model: keras.Model) -> bytes:
    # The functional model over the same layers: compilation and optimizer stay behind.
    plain = keras.Model(model.inputs, model.outputs, name=model.name)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        plain.save(path)
        return path.read_bytes()


def _gzipped_members(archive: bytes) -> int:
    with zipfile.ZipFile(io.BytesIO(archive)) as file:
        members = {name: file.read(name) for name in sorted(file.namelist())}
    metadata = json.loads(members["metadata.json"])
    members["metadata.json"] = json.dumps({**metadata, "date_saved": ""}).encode()
    return gzipped_size(b"".join(members.values()))


def _positions(layer: Any, shape: Shape) -> int:
    first = getattr(layer, "data_format", "channels_last") == "channels_first"
    return math.prod(shape[2:] if first else shape[1:-1])
