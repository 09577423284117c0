"""The parts that activation records consist of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from network_pruning.inversion.moments import Law
from network_pruning.inversion.spectral import Grid
from network_pruning.types import FloatArray

Basis = Literal["weights", "pca"]
Scope = Literal["network", "pairs"]
Scales = dict[str, float]
"""RMS of rectified activations, by layer."""


@dataclass(frozen=True)
class Block:
    """Layers whose activations are drawn together.

    Attributes:
        layers: Their paths.
        law: Of the activations divided by the layers' scales, side by side, by class:
            arrays [classes, d], [classes, d, r], [classes, d] float32.
    """

    layers: tuple[str, ...]
    law: Law


@dataclass(frozen=True)
class Spectrum:
    """Coefficients of a signal on a graph of layers.

    Attributes:
        scope: network: a graph of all layers; pairs: of two adjacent ones.
        kind: What the basis is made of: weights, or principal axes of each class.
        layers: Their paths, in the order of the graph.
        grids: Cells of each layer's feature maps.
        basis: Orthonormal columns [nodes, q] float32, or by class [classes, nodes, q];
            of a class with fewer images than q the last ones are 0.
        law: Of the coefficients, by class.
    """

    scope: Scope
    kind: Basis
    layers: tuple[str, ...]
    grids: tuple[Grid, ...]
    basis: FloatArray
    law: Law


@dataclass(frozen=True)
class Pixels:
    """What the images were like.

    Attributes:
        low: Smallest value of a pixel.
        high: Largest.
        mean: Of each channel [c].
        sd: Of each channel [c].
    """

    low: float
    high: float
    mean: npt.NDArray[np.float64]
    sd: npt.NDArray[np.float64]
