"""One-shot pruning of single weights: masks by magnitude over the hidden kernels.

The kernels of the output layers, those whose outputs reach the model's outputs without
another mixer in between, are never pruned. A subclassed model does not show which they
are: there every kernel is.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras

from network_pruning.graph import (
    Call,
    check_walkable,
    is_subclassed,
    leaf_layers,
    learnt_weights,
    owned_layers,
    replay,
)
from network_pruning.pruning import masks as arithmetic
from network_pruning.pruning.layer_rules import rule_of
from network_pruning.pruning.surgery import shrink
from network_pruning.pruning.units import find_groups
from network_pruning.types import BoolArray, FloatArray, Masks

logger = logging.getLogger(__name__)


def hidden_mixers(model: keras.Model) -> dict[str, keras.layers.Layer]:
    """Finds the layers whose kernels are pruned: all mixers but the output layers.

    Returns:
        Layer by path, in graph order. Layers without a rule are left out, and logged
        where they have weights like a kernel.

    Raises:
        ValueError: If the model has no graph to walk, and is not subclassed and built.
    """
    found = {}
    last = set() if is_subclassed(model) else _output_mixers(model)
    for path, layer in _layers(model):
        rule = rule_of(layer)
        if rule is None and any(w.shape.rank > 1 for w in learnt_weights(layer)):
            logger.warning(
                "%s: its weights are not pruned, there is no rule for %s.",
                *(path, type(layer).__name__),
            )
        elif rule is not None and rule.role == "mixer" and id(layer) not in last:
            found[path] = layer
    return found


def _layers(model: keras.Model) -> list[tuple[str, keras.layers.Layer]]:
    """Lists the layers that may have kernels.

    Returns:
        (path, layer), in order.

    Raises:
        ValueError: If the model has no graph to walk, and is not subclassed and built.
    """
    if not is_subclassed(model):
        return leaf_layers(model)
    if not model.built:
        raise ValueError(
            f"model {model.name!r} has no weights yet: call it on a batch first."
        )
    return owned_layers(model)


def _output_mixers(model: keras.Model) -> set[int]:
    """Returns id(layer) of the mixers last seen before the outputs."""

    def apply(call: Call, args: Any, kwargs: Any) -> Any:
        rule = rule_of(call.layer)
        if rule is not None and rule.role == "mixer":
            last = frozenset([id(call.layer)])
        else:
            values = tf.nest.flatten((args, kwargs))
            seen = [v for v in values if isinstance(v, frozenset)]
            last = frozenset().union(*seen)
        return tf.nest.map_structure(lambda _: last, call.node.outputs)

    check_walkable(model)
    outputs = replay(model, [frozenset()] * len(model.inputs), apply)
    return set().union(*tf.nest.flatten(outputs))


def hidden_kernels(model: keras.Model) -> dict[str, FloatArray]:
    """Reads the kernels that weight pruning touches.

    Returns:
        Kernel by path, "<layer path>/kernel", in graph order.

    Raises:
        ValueError: If the model has no graph to walk.
    """
    return {
        f"{path}/{name}": getattr(layer, name).numpy()
        for path, layer in hidden_mixers(model).items()
        for name in kernel_names(layer)
    }


def kernel_names(layer: keras.layers.Layer) -> list[str]:
    """Returns the attributes of a layer's weights that join inputs with outputs.

    Of a separable convolution that is the pointwise kernel; depthwise kernels, few and
    precious, are never pruned.
    """
    rule = rule_of(layer)
    return rule.kernels if rule else []


def weight_masks(
    model: keras.Model, sparsity: float, scope: str = "layer"
) -> dict[str, BoolArray]:
    """Chooses the weights to keep: the largest magnitudes of the hidden kernels.

    Args:
        model: Functional or Sequential tf_keras model; or a subclassed one, built, of
            which all kernels are taken that layers with a rule hold, the last one's
            too: drop its mask, or it is pruned like the others.
        sparsity: Share of the weights to remove, in [0, 1).
        scope: "layer" removes the share from each kernel; "global" from all together,
            at least one weight of each stays.

    Returns:
        Masks by kernel path, bool [kernel.shape], True = keep.

    Raises:
        ValueError: If sparsity or scope is out of range, or a weight is NaN.
    """
    magnitudes = {path: np.abs(k) for path, k in hidden_kernels(model).items()}
    if scope == "global":
        return arithmetic.keep_largest_global(magnitudes, sparsity)
    if scope != "layer":
        raise ValueError(f"scope: got {scope!r}, expected 'layer' or 'global'.")
    return {p: arithmetic.keep_largest(m, sparsity) for p, m in magnitudes.items()}


def prune_weights(
    model: keras.Model,
    sparsity: float | None = None,
    scope: str = "layer",
    masks: Masks | None = None,
    into: keras.Model | None = None,
) -> keras.Model:
    """Sets the smallest weights of the hidden kernels to zero, in a copy.

    Args:
        model: Functional or Sequential tf_keras model; left as it is, unless it is
            `into`. A subclassed one is pruned in place alone: `into=model`.
        sparsity: Share of the weights to remove, in [0, 1); or give `masks`.
        scope: "layer" or "global", see `weight_masks`.
        masks: By kernel path, bool [kernel.shape]; kernels not named stay whole.
        into: What an earlier call returned for this model, unchanged since: its
            kernels are overwritten instead of building another copy. Or the model.

    Returns:
        An ordinary functional model with the same layers, and zeros.

    Raises:
        ValueError: If not exactly one of sparsity and masks is given, or a value is out
            of range, or a mask does not fit, or the model cannot be copied.
    """
    if (sparsity is None) == (masks is None):
        raise ValueError(
            f"prune_weights: got sparsity={sparsity!r} and "
            f"{'no' if masks is None else 'also'} masks, expected exactly one of them."
        )
    if masks is None:
        masks = weight_masks(model, 0.0 if sparsity is None else sparsity, scope)
    if is_subclassed(model) and into is not model:
        raise ValueError(
            f"model {model.name!r} is a subclassed {type(model).__name__}, no copy can "
            "be made: pass into=model to prune it in place."
        )
    checked = _checked_kernels(model, masks)
    copy = shrink(model, {}) if into is None else into
    kernels = _kernels_like(copy, checked)
    for path, (kernel, mask) in checked.items():
        kernels[path].assign(_masked(kernel, mask))
    return copy


def _kernels_like(
    copy: keras.Model, checked: Mapping[str, tuple[tf.Variable, BoolArray]]
) -> dict[str, tf.Variable]:
    """Returns the kernels of a copy.

    Raises:
        ValueError: If one is missing or has another shape.
    """
    kernels = _kernels(copy)
    for path, (kernel, _) in checked.items():
        if path not in kernels or kernels[path].shape != kernel.shape:
            got = list(kernels[path].shape) if path in kernels else "no such kernel"
            raise ValueError(
                f"into: got {got} for {path!r}, expected {list(kernel.shape)}: what an "
                "earlier call returned for this model, or the model itself."
            )
    return kernels


def _kernels(model: keras.Model) -> dict[str, tf.Variable]:
    return {
        f"{path}/{name}": getattr(layer, name)
        for path, layer in _layers(model)
        for name in kernel_names(layer)
    }


def _masked(kernel: tf.Variable, mask: BoolArray) -> FloatArray:
    value = kernel.numpy()
    return np.where(mask, value, np.zeros((), value.dtype))


def _checked_kernels(
    model: keras.Model, masks: Masks
) -> dict[str, tuple[tf.Variable, BoolArray]]:
    """Finds the kernels that masks are for.

    Returns:
        (kernel, mask) by kernel path.

    Raises:
        ValueError: If a mask does not fit.
    """
    kernels = _kernels(model)
    masked = {}
    for path, mask in masks.items():
        kernel = kernels.get(path)
        if kernel is None or tuple(kernel.shape) != np.shape(mask):
            shape = "no such kernel" if kernel is None else list(kernel.shape)
            raise ValueError(
                f"mask of {path!r}: got shape {list(np.shape(mask))}, expected {shape}."
            )
        masked[path] = (kernel, np.asarray(mask))
    return masked


def unit_weight_masks(model: keras.Model, masks: Masks) -> dict[str, BoolArray]:
    """Expresses unit masks as weight masks: the cut units' own columns are zero.

    The rows of the next layer that read them are kept: the sweep's unit pruning, whose
    penalty counts them.

    Args:
        model: Functional or Sequential tf_keras model.
        masks: Bool [n_units] by group name, True = keep.

    Returns:
        Masks by kernel path, bool [kernel.shape], of every producer of a group.

    Raises:
        ValueError: If a mask does not fit.
    """
    groups = find_groups(model)
    vector = groups.vector(masks)
    found = {}
    for channels in groups.channels.values():
        if channels.rule is None or not channels.outputs.any():
            continue
        for name in channels.rule.kernels:
            axes = channels.rule.weight_axes[name]
            kernel = getattr(channels.layer, name)
            shape = [1] * kernel.shape.rank
            shape[axes.index("out") - len(axes)] = -1
            keep = vector[channels.outputs].reshape(shape)
            found[f"{channels.path}/{name}"] = np.broadcast_to(keep, kernel.shape)
    return found


def masked_penalty(model: keras.Model, masks: Masks) -> float:
    """Sums the weight penalties, each kernel under its mask.

    Args:
        model: Functional or Sequential tf_keras model.
        masks: By kernel path, bool [kernel.shape]; kernels not named count whole.

    Returns:
        Sum over all regularised weights w of regulariser(w * mask). With nothing
        masked it equals `sum(model.losses)`, where no activity is penalised.

    Raises:
        ValueError: If a mask does not fit.
    """
    checked = {id(k): mask for k, mask in _checked_kernels(model, masks).values()}
    total = 0.0
    for _, layer in leaf_layers(model):
        for variable, regulariser in _regularised(layer):
            mask = checked.get(id(variable))
            value = variable if mask is None else _masked(variable, mask)
            total += float(regulariser(tf.convert_to_tensor(value)))
    return total


def _regularised(layer: keras.layers.Layer) -> Iterator[tuple[tf.Variable, Any]]:
    """Yields (weight, regulariser) by Keras' naming: kernel, kernel_regularizer."""
    suffix = "_regularizer"
    owners = [
        layer,
        getattr(layer, "cell", layer),
    ]  # A recurrent layer's are its cell's.
    for owner in dict.fromkeys(owners):
        for attribute, regulariser in vars(owner).items():
            stem = attribute.removesuffix(suffix)
            if stem == attribute or stem == "_activity" or regulariser is None:
                continue
            weight = getattr(owner, stem, None)
            if weight is None:
                weight = getattr(owner, f"{stem}_kernel", None)
            if weight is not None:
                yield weight, regulariser


def achieved_sparsity(model: keras.Model) -> dict[str, float]:
    """Returns the share of exact zeros in each hidden kernel, by kernel path.

    Raises:
        ValueError: If the model has no graph to walk.
    """
    return {
        path: 1 - np.count_nonzero(kernel) / kernel.size
        for path, kernel in hidden_kernels(model).items()
    }
