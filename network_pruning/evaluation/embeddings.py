"""t-SNE maps of activations or pixels, and files for TensorBoard's projector."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from network_pruning.evaluation.clusters import principal
from network_pruning.evaluation.rows import write_table

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.integer[Any]]


def subset(count: int, size: int, seed: int) -> Ints:
    """Draws examples without repetition.

    Args:
        count: Of all examples.
        size: Wanted; all of them if there are no more.
        seed: Names the draw.

    Returns:
        Indices, ascending.
    """
    drawn = np.random.default_rng(seed).permutation(count)[:size]
    return np.sort(drawn)


def shuffled_pixels(images: Floats, seed: int) -> Floats:
    """Permutes all pixel values over all images and places.

    Args:
        images: Of any shape.
        seed: Names the permutation.

    Returns:
        An array of the same shape and values.
    """
    flat = np.random.default_rng(seed).permutation(images.ravel())
    return flat.reshape(images.shape)


def tsne(
    values: Floats, perplexity: float = 50.0, seed: int = 0
) -> tuple[Floats, Floats]:
    """Maps rows to the plane: PCA to at most 50 components first, PCA start.

    L. van der Maaten, G. Hinton, "Visualizing Data using t-SNE", 2008; Barnes-Hut by
    scikit-learn.

    Args:
        values: [n, d].
        perplexity: Effective number of neighbours, below n.
        seed: Of the decomposition and the map.

    Returns:
        The map [n, 2], and the first two principal components [n, 2].

    Raises:
        ValueError: If the perplexity is not below the number of rows.
    """
    from sklearn.manifold import TSNE

    if not 0 < perplexity < len(values):
        raise ValueError(
            f"perplexity: got {perplexity:g}, expected a number above 0 and below "
            f"{len(values)}, the examples"
        )
    reduced = principal(values, seed=seed)
    placed = TSNE(perplexity=perplexity, init="pca", random_state=seed)
    return placed.fit_transform(reduced), principal(values, 2, seed)


def csv_text(points: Floats, labels: Ints) -> str:
    """Returns a map as csv: x, y, label, in the order of the examples."""
    rows = [
        [f"{x:.6g}", f"{y:.6g}", str(label)]
        for (x, y), label in zip(points.tolist(), labels.tolist(), strict=True)
    ]
    return write_table(["x", "y", "label"], rows)


def projector_files(name: str, values: Floats, labels: Sequence[str]) -> dict[str, str]:
    """Returns the files by which TensorBoard's projector shows rows.

    Args:
        name: Of the layer.
        values: [n, d].
        labels: Word of each row [n].

    Returns:
        File name -> content; `tensorboard --logdir` on their folder shows them.
    """
    tensors = "\n".join("\t".join(f"{v:.6g}" for v in row) for row in values.tolist())
    config = (
        f'embeddings {{\n  tensor_name: "{name}"\n  tensor_path: "tensors.tsv"\n'
        '  metadata_path: "metadata.tsv"\n}\n'
    )
    return {
        "tensors.tsv": tensors + "\n",
        "metadata.tsv": "\n".join(labels) + "\n",
        "projector_config.pbtxt": config,
    }
