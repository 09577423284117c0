"""Spectra of a network as a graph: our own definition, as none was published in code.

Units are nodes, magnitudes of weights between adjacent layers are edges. The adjacency
is symmetric and normalised by degree, so that its leading eigenvectors are orthonormal
and real; a layer's activations, rectified and scaled to unit RMS, are a signal on the
nodes, and its coefficients are what is recorded. The published code put blocks above
the diagonal alone: such a matrix is nilpotent, and all its eigenvalues are zero.

Feature maps are pooled to a coarser grid where a graph would have too many nodes.
Arithmetic on arrays.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from network_pruning.types import FloatArray

Grid = tuple[int, ...]
"""Cells along each axis of a feature map; () for a layer without places."""
MOST_NODES = 5000
FRACTION = 0.1


def choose_grids(
    shapes: Sequence[tuple[int, ...]], most: int = MOST_NODES
) -> list[Grid]:
    """Chooses how finely the feature maps of a graph are looked at.

    The layer with most nodes has its sides halved, rounded up, until the graph is
    small enough.

    Args:
        shapes: Of each layer's activation, (*places, channels).
        most: Nodes of the graph.

    Returns:
        For each layer the cells along its axes.

    Raises:
        ValueError: If there are too many units for any grid.
    """
    grids = [tuple(shape[:-1]) for shape in shapes]
    widths = [shape[-1] for shape in shapes]
    while True:
        nodes = [
            math.prod(grid) * width for grid, width in zip(grids, widths, strict=True)
        ]
        if sum(nodes) <= most:
            return grids
        coarser = [
            n if math.prod(g) > 1 else 0 for n, g in zip(nodes, grids, strict=True)
        ]
        largest = int(np.argmax(coarser))
        if not coarser[largest]:
            raise ValueError(
                f"layers: got {sum(nodes)} units, expected at most {most} for a "
                "spectral record: name fewer layers"
            )
        grids[largest] = tuple(-(-side // 2) for side in grids[largest])


def overlap(fine: int, coarse: int) -> FloatArray:
    """Cuts a side of length 1 in two ways, and tells how the pieces overlap.

    Returns:
        Shares [fine, coarse] of each coarse piece that the fine pieces cover; columns
        sum to 1, so that `values @ shares` are means.
    """
    starts, ends = np.arange(fine) / fine, np.arange(1, fine + 1) / fine
    left, right = np.arange(coarse) / coarse, np.arange(1, coarse + 1) / coarse
    common = np.minimum(ends[:, None], right) - np.maximum(starts[:, None], left)
    return np.maximum(common, 0) * coarse


def overlaps(source: Grid, target: Grid) -> FloatArray:
    """Returns the same for grids of as many axes: [prod(source), prod(target)]."""
    shares: FloatArray = np.ones((1, 1))
    for fine, coarse in zip(source, target, strict=True):
        shares = np.kron(shares, overlap(fine, coarse))
    return shares


def edges(kernel: FloatArray, source: Grid, width: int, target: Grid) -> FloatArray:
    """Returns the weights of the edges between two adjacent layers.

    Between dense layers |w|. A convolution ties channels by the sum of |w| over its
    window, and places by how their cells overlap; a dense layer behind feature maps is
    averaged over the places in a cell.

    Args:
        kernel: Of the second layer: [*window, channels in, channels out], or [n, units]
            with n = places * width.
        source: Grid of the first layer.
        width: Its channels.
        target: Grid of the second layer.

    Returns:
        [nodes of the first, nodes of the second], places before channels.

    Raises:
        ValueError: If the second layer does not read the channels of the first.
    """
    magnitudes = np.abs(np.asarray(kernel, np.float64))
    *window, read, made = magnitudes.shape
    if window:
        ties = magnitudes.reshape(-1, read, made).sum(axis=0)
        if read != width:
            raise ValueError(_misfit(width, read))
        return np.kron(_between(source, target), ties)
    places = _places(read, source, width)
    ties = magnitudes.reshape(math.prod(places), width, made)
    means = overlaps(places, source)
    return np.einsum("ps,pcm->scm", means, ties).reshape(-1, made)


def _between(source: Grid, target: Grid) -> FloatArray:
    if len(source) != len(target):
        return np.ones((math.prod(source), math.prod(target)))
    return overlaps(source, target)


def _places(read: int, source: Grid, width: int) -> Grid:
    """Returns the grid that a dense layer has flattened, as near a source's as can be.

    Raises:
        ValueError: If it has not flattened channels of this width.
    """
    count, rest = divmod(read, width)
    if rest or (count > 1 and not source):
        raise ValueError(_misfit(width, read))
    if not source:
        return ()
    scale = (count / math.prod(source)) ** (1 / len(source))
    places = tuple(max(1, round(side * scale)) for side in source)
    if math.prod(places) != count:
        raise ValueError(_misfit(width, read))
    return places


def _misfit(width: int, read: int) -> str:
    return (
        f"got a layer of {width} channels before one that reads {read}, expected a "
        "chain of layers for the basis of weights: name other layers, or take "
        "basis=pca"
    )


def adjacency(blocks: Sequence[FloatArray]) -> FloatArray:
    """Puts the edges of a chain of layers into one symmetric matrix.

    Args:
        blocks: Edges [d_l, d_{l+1}] between each layer and the next.

    Returns:
        [d, d], d the sum over all layers.
    """
    sizes = [len(blocks[0]), *(block.shape[1] for block in blocks)]
    starts = np.cumsum([0, *sizes])
    whole = np.zeros((starts[-1],) * 2)
    for i, block in enumerate(blocks):
        rows = slice(starts[i], starts[i + 1])
        columns = slice(starts[i + 1], starts[i + 2])
        whole[rows, columns] = block
        whole[columns, rows] = block.T
    return whole


def by_degree(matrix: FloatArray) -> FloatArray:
    """Returns D^-1/2 A D^-1/2, D the row sums; a node without edges stays without."""
    degree = matrix.sum(axis=1)
    roots = np.sqrt(np.where(degree > 0, degree, 1))
    return matrix / roots[:, None] / roots


def count(nodes: int, fraction: float = FRACTION) -> int:
    """Returns how many coefficients a share of the nodes is, rounded up."""
    return min(nodes, math.ceil(fraction * nodes - 1e-9))


def leading(matrix: FloatArray, number: int) -> FloatArray:
    """Returns the eigenvectors of the eigenvalues that are largest in size.

    Args:
        matrix: Symmetric [d, d].
        number: How many.

    Returns:
        [d, number], orthonormal columns, the leading one first; of each, the entry
        largest in size is positive.
    """
    values, vectors = np.linalg.eigh(matrix)
    first = np.argsort(-np.abs(values), kind="stable")[:number]
    return pointing_up(vectors[:, first])


def pointing_up(vectors: FloatArray) -> FloatArray:
    """Returns columns [d, n] whose entry largest in size is positive."""
    peaks = np.abs(vectors).argmax(axis=0)
    signs = np.sign(vectors[peaks, np.arange(vectors.shape[1])])
    return vectors * np.where(signs, signs, 1)
