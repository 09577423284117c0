"""Watches a network on its training images, and takes down what is asked for."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import tensorflow as tf
import tf_keras as keras

from network_pruning.chunks import fitting
from network_pruning.graph import leaf_layers
from network_pruning.inversion import moments, signals, spectral
from network_pruning.inversion.collectors import Collector
from network_pruning.inversion.moments import Form, Law
from network_pruning.inversion.parts import (
    Basis,
    Block,
    Pixels,
    Scales,
    Scope,
    Spectrum,
)
from network_pruning.inversion.tallies import Tally, Unfinished
from network_pruning.taps import call_tapped
from network_pruning.types import Dataset, FloatArray

BATCH = 500
"""Images sent through the network at once, at most: all that is read of them stays."""
SCALE_IMAGES = 2000
"""Images from which the scales of layers are taken."""


class Collection(NamedTuple):
    """Something to be recorded: what of the taps, in which form, and then what."""

    vectors: Callable[[signals.Taps], tf.Tensor]
    form: Form
    rank: int
    finish: Callable[[Collector], Block | Spectrum]


class Watch:
    """A network looked at while it runs over its training images.

    Attributes:
        shapes: Of each layer's activation, by path.
        scales: RMS of each layer's rectified activations, 1 where it is 0.
    """

    def __init__(self, model: keras.Model, data: Dataset, paths: Sequence[str]) -> None:
        """Looks at some images to learn the scales."""
        self._data = data
        self._layers = dict(leaf_layers(model))
        self._taps = tf.function(
            lambda images: signals.exact(
                call_tapped(model, images, paths, training=False)[1]
            ),
            input_signature=[tf.TensorSpec((None, *data.input_shape), tf.float32)],
        )
        outputs = self._taps.get_concrete_function().structured_outputs
        self.shapes = {path: tuple(outputs[path].shape[1:]) for path in paths}
        self._batch = fitting(BATCH, sum(map(math.prod, self.shapes.values())))
        self.scales = self._scales()

    def _scales(self) -> Scales:
        squares = dict.fromkeys(self.shapes, 0.0)
        seen = 0
        for images, _ in self._data.batches("train", self._batch, seed=0):
            taps = self._taps(images)
            for path in squares:
                rectified = signals.flat(tf.nn.relu(taps[path]))
                mean = tf.reduce_mean(rectified**2, axis=1)
                squares[path] += float(tf.reduce_sum(mean))
            seen += len(images)
            if seen >= SCALE_IMAGES:
                break
        return {path: math.sqrt(total / seen) or 1.0 for path, total in squares.items()}

    def block(self, layers: Sequence[str], form: Form, rank: int) -> Collection:
        """Returns the collection of the activations of layers, together."""
        scales = {path: self.scales[path] for path in layers}
        return Collection(
            lambda taps: signals.joined(taps, scales),
            form,
            rank,
            lambda collector: Block(tuple(layers), collector.law()),
        )

    def spectra(self, scope: Scope, basis: Basis, fraction: float) -> list[Collection]:
        """Returns the collections of the coefficients of graphs of the layers.

        Args:
            scope: network: one graph of all; pairs: one of each two adjacent ones.
            basis: Made of weights, or the principal axes of each class.
            fraction: Coefficients kept, as a share of the nodes.

        Raises:
            ValueError: If there is one layer alone, or they do not fit the basis.
        """
        paths = list(self.shapes)
        if len(paths) < 2:
            raise ValueError(
                f"spectra: got the layer {paths[0]} alone, expected at least two to tie"
            )
        chains = [paths] if scope == "network" else list(map(list, pairwise(paths)))
        of_graph = self._weights if basis == "weights" else self._axes
        return [of_graph(self._graph(scope, chain), fraction) for chain in chains]

    def _graph(self, scope: Scope, chain: list[str]) -> _Graph:
        shapes = [self.shapes[path] for path in chain]
        grids = tuple(spectral.choose_grids(shapes))
        scales = {path: self.scales[path] for path in chain}
        return _Graph(scope, tuple(shape[-1] for shape in shapes), grids, scales)

    def _weights(self, graph: _Graph, fraction: float) -> Collection:
        kernels = []
        for path in list(graph.scales)[1:]:
            kernel = getattr(self._layers[path], "kernel", None)
            if kernel is None:
                raise ValueError(
                    f"layer {path!r} has no kernel that ties it to the one before: "
                    "name other layers, or take basis=pca"
                )
            kernels.append(kernel.numpy())
        number = spectral.count(graph.nodes, fraction)
        basis = graph.basis(kernels, number).astype(np.float32)
        return Collection(
            lambda taps: graph.signal(taps) @ basis,
            "full",
            number,
            lambda collector: graph.spectrum("weights", basis, collector.law()),
        )

    def _axes(self, graph: _Graph, fraction: float) -> Collection:
        number = spectral.count(graph.nodes, fraction)

        def finish(collector: Collector) -> Spectrum:
            return graph.spectrum("pca", *_principal(collector.moments(), number))

        return Collection(graph.signal, "lowrank", number, finish)

    def collect(
        self,
        collections: Sequence[Collection],
        unfinished: Unfinished | None = None,
    ) -> tuple[npt.NDArray[np.int64], Pixels, list[Block | Spectrum]]:
        """Sends all training images through, once.

        Args:
            collections: What to record.
            unfinished: Where a pass that is stopped is kept, and goes on from.

        Returns:
            Images of each class, what they are like, and what was recorded.

        Raises:
            ValueError: If an activation is no number, or a class has no example.
        """
        classes, channels = self._data.num_classes, self._data.input_shape[-1]
        collectors = [Collector(classes, each.form, each.rank) for each in collections]
        tally = Tally(classes, channels, collectors)
        if unfinished is not None:
            unfinished.restore(tally)
        watch = tf.function(
            lambda images: [each.vectors(self._taps(images)) for each in collections],
            input_signature=self._taps.input_signature,
        )
        batches = self._data.batches("train", self._batch).skip(tally.batches)
        for images, labels in batches:
            vectors = [each.numpy() for each in watch(images)]
            tally.add(images.numpy(), labels.numpy(), vectors)
            if unfinished is not None:
                unfinished.keep_when_due(tally)
        _check_counts(tally.counts, self._data.name)
        found = [
            each.finish(collector)
            for each, collector in zip(collections, collectors, strict=True)
        ]
        return tally.counts, tally.pixels(), found


def _check_counts(counts: npt.NDArray[np.int64], name: str) -> None:
    empty = np.flatnonzero(counts == 0)
    if empty.size:
        raise ValueError(
            f"class {empty[0]} of {name} has no example among the training images, "
            f"expected at least one of each of the {len(counts)}"
        )


@dataclass(frozen=True)
class _Graph:
    """A chain of layers whose spectrum is to be recorded."""

    scope: Scope
    widths: tuple[int, ...]
    grids: tuple[spectral.Grid, ...]
    scales: Scales

    @property
    def nodes(self) -> int:
        return sum(
            math.prod(grid) * width
            for grid, width in zip(self.grids, self.widths, strict=True)
        )

    def basis(self, kernels: list[FloatArray], number: int) -> FloatArray:
        """Returns the leading eigenvectors [nodes, number].

        Args:
            kernels: Of all layers but the first.
            number: How many eigenvectors.
        """
        blocks = [
            spectral.edges(kernel, *self.ends(i)) for i, kernel in enumerate(kernels)
        ]
        return spectral.leading(spectral.by_degree(spectral.adjacency(blocks)), number)

    def ends(self, i: int) -> tuple[spectral.Grid, int, spectral.Grid]:
        return self.grids[i], self.widths[i], self.grids[i + 1]

    def signal(self, taps: signals.Taps) -> tf.Tensor:
        return signals.signal(taps, self.scales, self.grids)

    def spectrum(self, kind: Basis, basis: FloatArray, law: Law) -> Spectrum:
        return Spectrum(self.scope, kind, tuple(self.scales), self.grids, basis, law)


def _principal(
    found: list[moments.Moments], number: int
) -> tuple[npt.NDArray[np.float32], Law]:
    """Returns the principal axes of each class, and the law of what lies along them.

    Args:
        found: Moments of each class, held by rows.
        number: Axes; fewer where no class has enough images.

    Returns:
        Axes [classes, nodes, q], leading first, and the law [classes, q]. A class with
        fewer images than axes has zeros for the last ones.
    """
    rows = [each.rows for each in found if each.rows is not None]
    number = min(number, max(min(each.shape) for each in rows))
    axes, variances = [], []
    for each, deviations in zip(found, rows, strict=True):
        few = moments.compressed(deviations, number)
        _, sizes, vectors = np.linalg.svd(few, full_matrices=False)
        missing = number - len(sizes)
        own = spectral.pointing_up(vectors.T.astype(np.float64))
        axes.append(np.pad(own, ((0, 0), (0, missing))))
        variances.append(np.pad(sizes**2 / each.count, (0, missing)))
    basis = np.stack(axes).astype(np.float32)
    means = np.stack([m.mean @ a for m, a in zip(found, axes, strict=True)])
    spread = np.stack(variances).astype(np.float32)
    law = Law(
        means.astype(np.float32), np.zeros((*spread.shape, 0), np.float32), spread
    )
    return basis, law
