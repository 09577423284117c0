"""What a cut leaves of parameters and MACs, counted without building the network."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import tf_keras as keras

from network_pruning.evaluation.macs import macs_by_layer
from network_pruning.graph import leaf_layers, learnt_weights
from network_pruning.pruning.slices import sliced_shapes
from network_pruning.pruning.units import Groups, find_groups
from network_pruning.types import BoolArray, Masks


@dataclass(frozen=True)
class _Layer:
    """A layer's part in the sums.

    Attributes:
        layer: Whose weights are counted.
        learnt: Which of its weights are, see `graph.learnt_weights`.
        macs: Multiply-accumulates of the whole layer.
        kernels: Which of its weights do them: every entry of these is used equally
            often, so that MACs fall with their sizes.
    """

    layer: keras.layers.Layer
    learnt: list[bool]
    macs: int
    kernels: list[bool]


class Widths:
    """Counts parameters and MACs of a network under any masks, exactly."""

    def __init__(self, model: keras.Model, groups: Groups | None = None) -> None:
        """Reads the network once.

        Args:
            model: Functional or Sequential tf_keras model.
            groups: Of it; found when not given.

        Raises:
            ValueError: If the model has no graph to walk.
        """
        self.groups = find_groups(model) if groups is None else groups
        macs = macs_by_layer(model)
        self.has_macs = macs is not None
        self._layers = [
            self._part(layer, (macs or {}).get(id(layer), 0))
            for _, layer in leaf_layers(model)
        ]

    def _part(self, layer: keras.layers.Layer, macs: int) -> _Layer:
        learnt = {id(weight) for weight in learnt_weights(layer)}
        channels = self.groups.channels.get(id(layer))
        axes = channels.rule.weight_axes if channels and channels.rule else {}
        kernels = {
            id(getattr(layer, attribute, None))
            for attribute, sides in axes.items()
            if len(sides) > 1
        }
        return _Layer(
            layer,
            [id(weight) in learnt for weight in layer.weights],
            macs,
            [id(weight) in kernels for weight in layer.weights],
        )

    def params(self, masks: Masks) -> int:
        """Returns the parameters that stay, see `cost.count_params`."""
        vector = self.groups.vector(masks)
        return sum(
            size
            for part in self._layers
            for size, counts in zip(self._sizes(part, vector), part.learnt, strict=True)
            if counts
        )

    def macs(self, masks: Masks) -> int:
        """Returns the multiply-accumulates of one example that stay.

        Raises:
            ValueError: If the network has a layer whose MACs are not known.
        """
        if not self.has_macs:
            raise ValueError(
                "macs: those of some layer cannot be counted (the log says which, and "
                "why): set a budget for params instead."
            )
        vector = self.groups.vector(masks)
        return sum(self._macs(part, vector) for part in self._layers)

    def _macs(self, part: _Layer, vector: BoolArray) -> int:
        if not part.macs or not any(part.kernels):
            return part.macs
        whole = [math.prod(weight.shape) for weight in part.layer.weights]
        kept = self._sizes(part, vector)
        of_kernels = np.array(part.kernels)
        return (
            part.macs * int(np.dot(kept, of_kernels)) // int(np.dot(whole, of_kernels))
        )

    def _sizes(self, part: _Layer, vector: BoolArray) -> list[int]:
        channels = self.groups.channels.get(id(part.layer))
        shapes = sliced_shapes(part.layer, channels, vector)
        return [math.prod(shape) for shape in shapes]
