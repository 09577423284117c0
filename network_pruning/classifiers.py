"""What a classifier takes and gives: images, and one row of logits or probabilities."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf
import tf_keras as keras

from network_pruning.graph import Call, check_walkable, has_graph, replay
from network_pruning.types import Dataset


def check_classifier(model: keras.Model) -> None:
    """Refuses what does not give one row of logits, or probabilities, an image.

    Raises:
        ValueError: Naming the inputs or outputs it has.
    """
    check_walkable(model)
    check_one_input(model)
    if tf.nest.is_nested(model.output) and len(model.outputs) == 1:
        raise ValueError(
            f"model {model.name!r}: got its output within a "
            f"{type(model.output).__name__}, expected the logits alone: "
            "keras.Model(model.inputs, model.outputs[0])"
        )
    if len(model.outputs) != 1 or model.outputs[0].shape.rank != 2:
        shapes = [list(x.shape) for x in model.outputs]
        raise ValueError(
            f"model {model.name!r}: got outputs {shapes}, expected one of logits "
            "[n, classes]."
        )
    check_not_sigmoid(model)


def check_one_input(model: keras.Model) -> None:
    """Refuses what does not take images alone.

    Raises:
        ValueError: Naming how many inputs it has.
    """
    if len(model.inputs) != 1:
        raise ValueError(
            f"model {model.name!r}: got {len(model.inputs)} inputs, expected one, of "
            "images."
        )


def check_fits(model: keras.Model, data: Dataset) -> None:
    """Refuses data whose images or classes are not those of a classifier.

    Raises:
        ValueError: Naming both; or as `check_classifier`.
    """
    check_classifier(model)
    check_images(model, data)
    classes = model.outputs[0].shape[-1]
    if classes not in {None, data.num_classes}:
        raise ValueError(
            f"data: got {data.num_classes} classes of {data.name!r}, expected "
            f"{classes}, as many as model {model.name!r} tells apart."
        )


def check_images(model: keras.Model, data: Dataset) -> None:
    """Refuses data whose images are not what a model's one input takes.

    Raises:
        ValueError: Naming both shapes; or if the data are no Dataset.
    """
    if not hasattr(data, "input_shape"):
        raise ValueError(
            f"data: got {type(data).__name__}, expected a Dataset as data.load gives "
            "it: of arrays in a .npz with x_train and y_train, data.load('my.npz')."
        )
    takes = [x.shape[1:] for x in model.inputs]
    if len(takes) == 1 and not takes[0].is_compatible_with(data.input_shape):
        raise ValueError(
            f"data: got images {list(data.input_shape)} of {data.name!r}, expected "
            f"{takes[0].as_list()}, which model {model.name!r} takes."
        )


def check_not_sigmoid(model: Any) -> None:
    """Refuses sigmoids at the end, which are neither logits nor their softmax.

    Raises:
        ValueError: Naming the model.
    """
    if ends_in_sigmoid(model):
        raise ValueError(
            f"model {model.name!r}: got a sigmoid at its end, expected logits or their "
            "softmax: give its last layer no activation (activation=None) and train it "
            "so; of attributes the sigmoid is taken here"
        )


def ends_in_sigmoid(model: Any) -> bool:
    """Returns whether a model's outputs are probabilities each of its own."""
    return _ends_in(plain(model), _is_sigmoid)


def plain(model: Any) -> Any:
    """Returns the model with a graph whose outputs this one gives.

    It is the model itself, unless it names another as `stands_for`.
    """
    return getattr(model, "stands_for", model)


def ends_in_softmax(model: Any) -> bool:
    """Returns whether a model's outputs are probabilities, and no logits.

    This is the one place that tells; a model without a graph to walk counts as ending
    in logits. Layers that move values without changing them are looked through; the
    average of probabilities is one.
    """
    return _ends_in(plain(model), _is_softmax)


def ends_linear(model: Any) -> bool:
    """Returns whether no activation makes a model's outputs."""
    return not _ends_in(plain(model), _is_bent)


def _ends_in(model: Any, is_end: Callable[[keras.layers.Layer], bool]) -> bool:
    """Returns whether a kind of layer makes all outputs of a model."""
    if not has_graph(model):
        return False

    def apply(call: Call, args: Any, kwargs: Any) -> Any:
        layer = call.layer
        ends = is_end(layer)
        if _moves_alone(layer):
            ends = bool(args[0])
        if isinstance(layer, keras.layers.Average):
            ends = all(args[0])
        return tf.nest.map_structure(lambda _: ends, call.node.outputs)

    outputs = replay(model, [False] * len(model.inputs), apply)
    return all(tf.nest.flatten(outputs))


_UNCHANGING = (
    keras.layers.Dropout,
    keras.layers.Flatten,
    keras.layers.GaussianNoise,
    keras.layers.Identity,
    keras.layers.Reshape,
)
_UNCHANGING_OPERATORS = {"cast", "identity", "reshape", "stop_gradient"}


def _moves_alone(layer: keras.layers.Layer) -> bool:
    """Returns whether a layer hands values on as they are."""
    return (
        isinstance(layer, _UNCHANGING)
        or _activation(layer) == "linear_alone"
        or getattr(layer, "symbol", "") in _UNCHANGING_OPERATORS
    )


def _is_softmax(layer: keras.layers.Layer) -> bool:
    called = getattr(layer, "symbol", "")  # tf.nn.softmax(x) in a functional model
    return (
        isinstance(layer, keras.layers.Softmax)
        or _activation(layer) == "softmax"
        or called == "nn.softmax"
    )


def _is_sigmoid(layer: keras.layers.Layer) -> bool:
    called = getattr(layer, "symbol", "")
    return _activation(layer) == "sigmoid" or called in {"math.sigmoid", "nn.sigmoid"}


_BENDING = (
    keras.layers.ELU,
    keras.layers.LeakyReLU,
    keras.layers.PReLU,
    keras.layers.ReLU,
    keras.layers.Softmax,
    keras.layers.ThresholdedReLU,
)
_BENDING_OPERATORS = {
    *("nn.elu", "nn.gelu", "nn.leaky_relu", "nn.log_softmax", "nn.relu", "nn.relu6"),
    *("nn.selu", "nn.sigmoid", "nn.softmax", "nn.softplus", "nn.softsign", "nn.tanh"),
    *("math.exp", "math.sigmoid", "math.softplus", "math.tanh"),
}


def _is_bent(layer: keras.layers.Layer) -> bool:
    return (
        isinstance(layer, _BENDING)
        or _activation(layer) not in {"", "linear", "linear_alone"}
        or getattr(layer, "symbol", "") in _BENDING_OPERATORS
    )


def _activation(layer: keras.layers.Layer) -> str:
    """Returns the name of a layer's activation, "linear_alone" if it does no more."""
    name = getattr(getattr(layer, "activation", None), "__name__", "")
    alone = isinstance(layer, keras.layers.Activation) and name == "linear"
    return "linear_alone" if alone else name
