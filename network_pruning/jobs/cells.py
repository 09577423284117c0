"""One cell of a sweep: a trained network pruned to one sparsity, one way.

The two ways, weights and units, share everything but the cut itself and the retraining
that follows it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import tf_keras as keras

from network_pruning import losses
from network_pruning.graph import leaf_layers
from network_pruning.pruning import gradual
from network_pruning.pruning.certificate import certify
from network_pruning.pruning.criteria import score_units
from network_pruning.pruning.masks import removed_share
from network_pruning.pruning.selection import keep_units
from network_pruning.pruning.surgery import shrink
from network_pruning.pruning.weights import (
    hidden_kernels,
    masked_penalty,
    prune_weights,
    unit_weight_masks,
    weight_masks,
)
from network_pruning.types import BoolArray, FloatArray, Masks, Scores

Rank = Callable[[keras.Model], dict[str, Scores]]
"""The trained network -> scores of its units by group."""


def rank_by_l2(dense: keras.Model) -> dict[str, Scores]:
    """Returns the units' scores by their incoming l2 norm."""
    return score_units(dense, "l2")


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


class Cutter:
    """Cuts one trained network, again and again.

    What all cuts share is made once: the units' scores, and the network that weights
    are zeroed in.
    """

    def __init__(self, dense: keras.Model, scope: str, rank: Rank = rank_by_l2) -> None:
        """Takes a network.

        Args:
            dense: The trained network; not changed.
            scope: layer or global.
            rank: Scores its units, called once where units are cut.
        """
        self.dense = dense
        self.scope = scope
        self._rank = rank
        self._zeroed: keras.Model | None = None

    def weights(self, sparsity: float) -> Cut:
        """Removes the smallest weights of the hidden kernels, one shot.

        Args:
            sparsity: Share of the weights to remove.

        Returns:
            The network with zeros; the next call overwrites it.
        """
        masks = weight_masks(self.dense, sparsity, scope=self.scope)
        self._zeroed = prune_weights(self.dense, masks=masks, into=self._zeroed)
        penalty = masked_penalty(self.dense, masks)
        return Cut(self._zeroed, removed_share(masks), penalty)

    def units(self, sparsity: float, inputs: FloatArray | None = None) -> Cut:
        """Removes the hidden units of lowest score, one shot.

        Args:
            sparsity: Share of the units to remove.
            inputs: Images the cut is proven on; None leaves it unproven.

        Returns:
            The shrunk network.

        Raises:
            CertificateError: If it does not do what the masked network does.
        """
        masks = self._unit_masks(sparsity)
        small = shrink(self.dense, masks)
        proof = None
        if inputs is not None:
            certificate = certify(self.dense, masks, small, inputs)
            certificate.require()
            proof = certificate.max_rel_diff
        penalty = masked_penalty(self.dense, unit_weight_masks(self.dense, masks))
        return Cut(small, removed_share(masks), penalty, proof)

    def kernels(self, kind: str, sparsity: float) -> dict[str, FloatArray]:
        """Returns every kernel under its mask, the output layer's too, by layer."""
        if kind == "weight":
            masks: Masks = weight_masks(self.dense, sparsity, scope=self.scope)
        else:
            masks = unit_weight_masks(self.dense, self._unit_masks(sparsity))
        return {
            path: layer.kernel.numpy() * masks.get(f"{path}/kernel", np.True_)
            for path, layer in leaf_layers(self.dense)
            if hasattr(layer, "kernel")
        }

    @functools.cached_property
    def _scores(self) -> dict[str, Scores]:
        return self._rank(self.dense)

    def _unit_masks(self, sparsity: float) -> dict[str, BoolArray]:
        return keep_units(self._scores, sparsity=sparsity, scope=self.scope)


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
    return float(losses.total(network.losses))
