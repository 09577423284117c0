"""How far clusters of activations are classes: NMI, ARI, scatter within and between.

All networks are read on the same tap, before the activation, so that their layers can
be compared. scikit-learn does the clustering.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import tf_keras as keras

from network_pruning.chunks import fitting, widest
from network_pruning.evaluation.metrics import Float64
from network_pruning.taps import call_tapped, check_layers

CHUNK = 500
"""Images sent through the network at once, at most."""
COMPONENTS = 50
"""Principal components that stand for a convolution's activation."""
Ints = npt.NDArray[np.integer[Any]]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Clustered:
    """What clusters of one layer's activations say of the classes.

    Attributes:
        nmi: Normalised mutual information of clusters and classes, see `nmi`.
        ari: Adjusted Rand index.
        used: Clusters with an example.
    """

    nmi: float
    ari: float
    used: int


def read_layers(
    network: keras.Model, images: Floats, layers: Sequence[str]
) -> dict[str, Floats]:
    """Reads what layers compute before their activation.

    Args:
        network: Functional or Sequential.
        images: [n, h, w, c].
        layers: Paths.

    Returns:
        By path, [n, numbers]: the places of a convolution behind one another.

    Raises:
        ValueError: If a layer is not to be had, with the list of those that are.
    """
    check_layers(network, layers)
    parts: dict[str, list[Floats]] = {path: [] for path in layers}
    chunk = fitting(CHUNK, widest(network, images.shape[1:]))
    for start in range(0, len(images), chunk):
        _, taps = call_tapped(network, images[start : start + chunk], layers, False)
        for path, tap in taps.items():
            parts[path].append(np.reshape(tap, (len(tap), -1)))
    return {path: np.concatenate(found) for path, found in parts.items()}


def principal(values: Floats, components: int = COMPONENTS, seed: int = 0) -> Floats:
    """Projects rows on their principal components.

    Args:
        values: [n, d].
        components: As many as there are, at most.
        seed: Of the randomised decomposition.

    Returns:
        [n, components]; the values themselves if d is no larger.
    """
    from sklearn.decomposition import PCA

    count = min(components, len(values))
    if values.shape[1] <= count:
        return values
    return PCA(count, random_state=seed).fit_transform(values)


def by_kmeans(values: Floats, k: int, n_init: int = 3, seed: int = 0) -> Ints:
    """Clusters rows by k-means.

    Args:
        values: [n, d].
        k: Number of clusters.
        n_init: Starts, of which the best is taken.
        seed: Of the starts.

    Returns:
        The cluster of each row [n].

    Raises:
        ValueError: If there are fewer rows than clusters.
    """
    from sklearn.cluster import KMeans

    if k > len(values):
        raise ValueError(f"k: got {k}, expected at most {len(values)}, the examples")
    return KMeans(k, n_init=n_init, random_state=seed).fit_predict(values)


def by_centres(values: Floats, centres: Floats) -> Ints:
    """Gives each row to its nearest centre.

    Args:
        values: [n, d].
        centres: [k, d].

    Returns:
        The cluster of each row [n].

    Raises:
        ValueError: If the widths differ.
    """
    if values.shape[1] != centres.shape[1]:
        raise ValueError(
            f"centres: got width {centres.shape[1]}, expected {values.shape[1]}"
        )
    offsets = np.sum(centres**2, axis=1) / 2
    return np.argmax(values @ centres.T - offsets, axis=1)


def judge(clusters: Ints, labels: Ints) -> Clustered:
    """Compares clusters with classes.

    Args:
        clusters: Of each example [n].
        labels: Likewise.

    Returns:
        What they have in common.
    """
    from sklearn.metrics import adjusted_rand_score

    return Clustered(
        nmi(clusters, labels),
        float(adjusted_rand_score(labels, clusters)),
        len(np.unique(clusters)),
    )


def nmi(clusters: Ints, labels: Ints) -> float:
    """Computes 2 MI(clusters, classes) / (H(clusters) + H(classes)), natural logs.

    Args:
        clusters: Of each example [n].
        labels: Likewise.

    Returns:
        In [0, 1]; 0 where either side is constant.
    """
    from sklearn.metrics import normalized_mutual_info_score

    if min(len(np.unique(clusters)), len(np.unique(labels))) < 2:
        return 0.0
    return float(normalized_mutual_info_score(labels, clusters))


def scatter(values: Floats, labels: Ints) -> tuple[float, float]:
    """Computes how far examples lie from their class, and classes from each other.

    Args:
        values: [n, d].
        labels: Class of each row [n].

    Returns:
        Mean squared distance of a row from the mean of its class, and of the class's
        mean from the mean of all, weighted by rows; they add up to the total variance.
    """
    x = values.astype(np.float64)
    means: Float64 = np.empty_like(x)
    for label in np.unique(labels):
        means[labels == label] = x[labels == label].mean(axis=0)
    within = np.mean(np.sum((x - means) ** 2, axis=1))
    between = np.mean(np.sum((means - x.mean(axis=0)) ** 2, axis=1))
    return float(within), float(between)
