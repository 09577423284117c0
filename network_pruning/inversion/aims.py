"""From an objective's name to targets drawn from records, and the loss against them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import tf_keras as keras

from network_pruning.inversion import moments, objectives, signals
from network_pruning.inversion.moments import Law
from network_pruning.inversion.parts import Block, Spectrum
from network_pruning.inversion.recipe import SCOPES, Recipe, Weighting
from network_pruning.inversion.records import ActivationRecords
from network_pruning.taps import weighted_layers
from network_pruning.types import FloatArray

if TYPE_CHECKING:
    from tensorflow import Tensor

Drawn = dict[str, FloatArray]
Labels = npt.NDArray[np.int64]
PUBLISHED_TEMPERATURE = 8.0
"""The published records hold the logits divided by it."""


@dataclass(frozen=True)
class LayersAim:
    """Targets for the activations of layers.

    Attributes:
        records: From which they are drawn.
        layers: Those that count.
        joint: Whether layers that share a law are drawn together.
        residual: Whether to draw also what the factors leave out, of each unit alone.
        weighting: balanced: a layer's loss is a mean over its units, divided by their
            mean square; published: the mean once more divided by the units, the logits'
            by the temperature's square, too.
        rectify: See `objectives.layers_apart`.
        logits: The layer whose activations they are; others may be recorded alone.
    """

    records: ActivationRecords
    layers: tuple[str, ...]
    joint: bool = True
    residual: bool = True
    weighting: Weighting = "balanced"
    rectify: bool = True
    logits: str = ""

    @property
    def taps(self) -> tuple[str, ...]:
        """Layers to be looked at."""
        return self.layers

    def draw(self, labels: Labels, generator: np.random.Generator) -> Drawn:
        """Draws activations, divided by their layers' scales.

        Args:
            labels: Class of each image [n].
            generator: What draws.

        Returns:
            [n, d_l] by layer.
        """
        drawn: Drawn = {}
        for block in self.records.blocks:
            ends = _ends(block, self.records)
            some = {name: ends[name] for name in block.layers if name in self.layers}
            law = _wanted(block.law, self.residual)
            if self.joint and some:
                vectors = _draw(law, labels, generator)
                drawn |= {name: vectors[:, a:b] for name, (a, b) in some.items()}
                continue
            for name, (start, stop) in some.items():
                drawn[name] = _draw(law.part(start, stop), labels, generator)
        return drawn

    def loss(self, taps: signals.Taps, drawn: Mapping[str, Tensor]) -> Tensor:
        """Returns the loss of each image [n]."""
        scales = self.records.scales
        scaled = {name: taps[name] / scales[name] for name in self.layers}
        return objectives.layers_apart(scaled, drawn, self._weights(), self.rectify)

    def _weights(self) -> dict[str, float]:
        weights = {}
        for name in self.layers:
            size = float(np.prod(self.records.shapes[name]))
            weights[name] = 1 / size
            if self.weighting == "published":
                weights[name] *= self.records.scales[name] ** 2 / size
                if name == self.logits:
                    weights[name] /= PUBLISHED_TEMPERATURE**2
        return weights


@dataclass(frozen=True)
class SpectralAim:
    """Targets for the coefficients of spectra.

    Attributes:
        records: From which they are drawn.
        spectra: Of the records.
        residual: See `LayersAim`.
    """

    records: ActivationRecords
    spectra: tuple[Spectrum, ...]
    residual: bool = True

    @property
    def taps(self) -> tuple[str, ...]:
        """Layers to be looked at."""
        named = {name for each in self.spectra for name in each.layers}
        return tuple(name for name in self.records.layers if name in named)

    def draw(self, labels: Labels, generator: np.random.Generator) -> Drawn:
        """Draws coefficients, independently from one spectrum to the next.

        Args:
            labels: Class of each image [n].
            generator: What draws.

        Returns:
            For each spectrum the coefficients [n, q], and the basis as
            `objectives.spectral_apart` takes it.
        """
        drawn: Drawn = {}
        for i, each in enumerate(self.spectra):
            law = _wanted(each.law, self.residual)
            drawn[f"{i}"] = _draw(law, labels, generator)
            whole = each.basis.ndim == 2 or _in_turns(labels, len(each.basis))
            drawn[f"{i} basis"] = each.basis if whole else each.basis[labels]
        return drawn

    def loss(self, taps: signals.Taps, drawn: Mapping[str, Tensor]) -> Tensor:
        """Returns the loss of each image [n], summed over the spectra."""
        total: Any = 0.0
        for i, each in enumerate(self.spectra):
            scales = {name: self.records.scales[name] for name in each.layers}
            signal = signals.signal(taps, scales, each.grids)
            coefficients, basis = drawn[f"{i}"], drawn[f"{i} basis"]
            total += objectives.spectral_apart(signal, coefficients, basis)
        return total


Aim = LayersAim | SpectralAim


def make_aim(model: keras.Model, records: ActivationRecords, recipe: Recipe) -> Aim:
    """Returns what a recipe aims at.

    Args:
        model: The network.
        records: Of it.
        recipe: Names the objective.

    Raises:
        ValueError: If the records do not hold what the objective needs.
    """
    objective = recipe.objective
    if objective not in SCOPES:
        top = next(reversed(weighted_layers(model)), "")
        layers = (top,) if objective == "top_layer" else records.layers
        records.check_known(layers)
        return LayersAim(
            records,
            layers,
            recipe.joint,
            recipe.residual,
            recipe.weighting,
            recipe.rectify,
            top,
        )
    scope = SCOPES[objective]
    spectra = tuple(each for each in records.spectra if each.scope == scope)
    if not spectra:
        raise ValueError(
            f"records: no spectra of the {scope} in them, expected some for "
            f"{objective}: take records with spectra=[{scope!r}]"
        )
    return SpectralAim(records, spectra, recipe.residual)


def _wanted(law: Law, residual: bool) -> Law:
    if residual:
        return law
    return Law(law.mean, law.factor, np.zeros_like(law.residual))


def _in_turns(labels: Labels, classes: int) -> bool:
    turns = len(labels) % classes == 0
    return turns and bool((labels == np.arange(len(labels)) % classes).all())


def _draw(law: Law, labels: Labels, generator: np.random.Generator) -> FloatArray:
    """Draws a vector for each label.

    Returns:
        [n, d] float32.
    """
    vectors = np.empty((len(labels), law.mean.shape[1]), np.float32)
    for label in np.unique(labels):
        rows = labels == label
        own = Law(law.mean[label], law.factor[label], law.residual[label])
        vectors[rows] = moments.sample(own, int(rows.sum()), generator)
    return vectors


def _ends(block: Block, records: ActivationRecords) -> dict[str, tuple[int, int]]:
    sizes = [int(np.prod(records.shapes[name])) for name in block.layers]
    stops = np.cumsum(sizes).tolist()
    starts = [0, *stops[:-1]]
    return dict(zip(block.layers, zip(starts, stops, strict=True), strict=True))
