"""One cell of a sweep: a trained network pruned to one sparsity, one way.

The two ways, weights and units, share everything but the cut itself and the retraining
that follows it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tensorflow as tf
import tf_keras as keras

from network_pruning.graph import leaf_layers
from network_pruning.pruning import gradual
from network_pruning.pruning.certificate import certify
from network_pruning.pruning.criteria import score_units
from network_pruning.pruning.masks import removed_share
from network_pruning.pruning.surgery import shrink
from network_pruning.pruning.units import find_groups, keep_units
from network_pruning.pruning.weights import (
    hidden_kernels,
    masked_penalty,
    prune_weights,
    unit_weight_masks,
    weight_masks,
)
from network_pruning.types import BoolArray, FloatArray, Masks

KINDS = ("weight", "unit")


@dataclass(frozen=True)
class Cut:
    """A pruned network.

    Attributes:
        network: Plain Keras model; for units, the shrunk one.
        achieved: Share of the prunable weights, or of the units, removed.
        penalty: Of the masked kernels, the next layer's rows kept.
        certificate: Largest relative difference between the masked and the shrunk
            network; None for weights.
    """

    network: keras.Model
    achieved: float
    penalty: float
    certificate: float | None = None


def cut_weights(dense: keras.Model, sparsity: float, scope: str) -> Cut:
    """Removes the smallest weights of the hidden kernels, one shot.

    Args:
        dense: The trained network.
        sparsity: Share of the weights to remove.
        scope: layer or global.

    Returns:
        The network with zeros.
    """
    masks = weight_masks(dense, sparsity, scope=scope)
    pruned = prune_weights(dense, masks=masks)
    return Cut(pruned, removed_share(masks), masked_penalty(dense, masks))


def cut_units(
    dense: keras.Model,
    sparsity: float,
    scope: str,
    inputs: FloatArray | None = None,
) -> Cut:
    """Removes the hidden units of smallest incoming l2 norm, one shot.

    Args:
        dense: The trained network.
        sparsity: Share of the units to remove.
        scope: layer or global.
        inputs: Images the cut is proven on; None leaves it unproven.

    Returns:
        The shrunk network.

    Raises:
        CertificateError: If it does not do what the masked network does.
    """
    masks = _unit_masks(dense, sparsity, scope)
    small = shrink(dense, masks)
    proof = None
    if inputs is not None:
        certificate = certify(dense, masks, small, inputs)
        certificate.require()
        proof = certificate.max_rel_diff
    penalty = masked_penalty(dense, unit_weight_masks(dense, masks))
    return Cut(small, removed_share(masks), penalty, proof)


def _unit_masks(
    dense: keras.Model, sparsity: float, scope: str
) -> dict[str, BoolArray]:
    scores = score_units(dense, "l2", groups=find_groups(dense))
    return keep_units(scores, sparsity=sparsity, scope=scope)


def kernels_after(
    kind: str, dense: keras.Model, sparsity: float, scope: str
) -> dict[str, FloatArray]:
    """Returns every kernel under its mask, the output layer's too, by layer name."""
    if kind == "weight":
        masks: Masks = weight_masks(dense, sparsity, scope=scope)
    else:
        masks = unit_weight_masks(dense, _unit_masks(dense, sparsity, scope))
    kernels = {}
    for path, layer in leaf_layers(dense):
        if hasattr(layer, "kernel"):
            kernel = layer.kernel.numpy()
            kernels[path] = kernel * masks.get(f"{path}/kernel", np.True_)
    return kernels


def retrainable_weights(dense: keras.Model, sparsity: float, steps: int) -> keras.Model:
    """Returns the dense network under tfmot's polynomial schedule.

    Half of the steps raise the sparsity from 0 to its end, the other half repair.

    Args:
        dense: The trained network.
        sparsity: Of each hidden kernel at the end.
        steps: Updates of the whole retraining.
    """
    frequency = max(1, min(100, steps // 20))
    updates = max(1, steps // 2 // frequency)
    return gradual.wrap(
        dense,
        sparsity,
        begin_step=0,
        end_step=updates * frequency,
        frequency=frequency,
    )


def zeros(network: keras.Model) -> float:
    """Returns the share of zeros in the prunable kernels together."""
    kernels = hidden_kernels(network).values()
    kept = sum(int(np.count_nonzero(kernel)) for kernel in kernels)
    return 1 - kept / sum(kernel.size for kernel in kernels)


def penalty_of(network: keras.Model) -> float:
    """Returns the sum of a network's own penalty terms."""
    return float(tf.add_n([tf.constant(0.0), *network.losses]))
