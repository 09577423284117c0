"""Means and covariances of a stream of vectors, and Gaussians drawn from them.

A stream is taken in batch by batch; its covariance is the population's (divided by n).
Two ways to hold the deviations: the whole scatter matrix, or a few rows R of which
R^T R is nearly the scatter, for vectors too long for a matrix. Arithmetic on arrays.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import linalg

from network_pruning.types import FloatArray

Form = Literal["full", "lowrank", "diag", "mean"]
FORMS: tuple[Form, ...] = ("full", "lowrank", "diag", "mean")
LARGEST_MATRIX = 2000
"""Longest vectors whose covariance is held as a matrix."""
SPARE = 2
"""A stream keeps this many times the rows that are asked for in the end."""
DUST = 1e-6
"""Share of the largest eigenvalue below which one is taken for rounding in float32."""


@dataclass(frozen=True)
class Moments:
    """What is known of a stream of vectors.

    Attributes:
        count: Vectors seen.
        mean: [d] float64.
        squares: Sum of squared deviations from the mean [d] float64.
        scatter: Sum of the outer products of the deviations [d, d] float64, or None.
        rows: [k, d] with rows^T rows = scatter, or nearly, once rows were given up; or
            None.
    """

    count: int
    mean: npt.NDArray[np.float64]
    squares: npt.NDArray[np.float64]
    scatter: npt.NDArray[np.float64] | None = None
    rows: FloatArray | None = None

    @property
    def variance(self) -> npt.NDArray[np.float64]:
        """Population variance [d]."""
        return self.squares / self.count


@dataclass(frozen=True)
class Law:
    """A Gaussian: mean + factor z + sqrt(residual) e, z and e standard normal.

    Attributes:
        mean: [..., d].
        factor: [..., d, r]; r may be 0.
        residual: Variance [..., d] that the factor leaves out, of each entry alone.
    """

    mean: FloatArray
    factor: FloatArray
    residual: FloatArray

    @property
    def nbytes(self) -> int:
        """Size of the arrays."""
        return self.mean.nbytes + self.factor.nbytes + self.residual.nbytes

    def part(self, start: int, stop: int) -> Law:
        """Returns the marginal law of the entries from `start` up to `stop`."""
        some = slice(start, stop)
        return Law(
            self.mean[..., some], self.factor[..., some, :], self.residual[..., some]
        )


def is_matrix(form: Form, size: int) -> bool:
    """Returns whether a form holds vectors of this length by their scatter matrix."""
    return form == "full" and size <= LARGEST_MATRIX


def of_batch(vectors: FloatArray, form: Form = "full") -> Moments:
    """Returns the moments of a batch alone.

    Products are made in the float type of the vectors, sums in float64.

    Args:
        vectors: [n, d], n > 0.
        form: What will be asked for: full keeps the matrix, up to `LARGEST_MATRIX`
            entries; else full and lowrank keep rows; diag and mean keep neither.
    """
    mean = vectors.mean(axis=0, dtype=np.float64)
    deviations = vectors - mean.astype(vectors.dtype)
    squares = np.einsum("nd,nd->d", deviations, deviations, dtype=np.float64)
    scatter = rows = None
    if is_matrix(form, vectors.shape[1]):
        scatter = (deviations.T @ deviations).astype(np.float64)
    elif form in {"full", "lowrank"}:
        rows = deviations
    return Moments(len(vectors), mean, squares, scatter, rows)


def merge(one: Moments, other: Moments, keep: int | None = None) -> Moments:
    """Returns the moments of two streams together.

    T. Chan, G. Golub, R. LeVeque, "Updating Formulae and a Pairwise Algorithm for
    Computing Sample Variances", 1979, eq. 2.1: the scatters add up, plus
    n_1 n_2 / (n_1 + n_2) * d d^T, d the difference of the means.

    Args:
        one: Of the same form as the other.
        other: Likewise.
        keep: Rows to be left with where there would be more than twice as many; None
            gives none up.
    """
    count = one.count + other.count
    apart = other.mean - one.mean
    share = one.count * other.count / count
    mean = one.mean + apart * (other.count / count)
    squares = one.squares + other.squares + share * apart**2
    scatter = rows = None
    if one.scatter is not None and other.scatter is not None:
        scatter = one.scatter + other.scatter
        scatter += np.outer(share * apart, apart)
    if one.rows is not None and other.rows is not None:
        between = (np.sqrt(share) * apart).astype(one.rows.dtype)[None]
        rows = np.concatenate([one.rows, other.rows, between])
        if keep is not None and len(rows) > 2 * keep:
            rows = compressed(rows, keep)
    return Moments(count, mean, squares, scatter, rows)


def compressed(rows: FloatArray, keep: int) -> FloatArray:
    """Returns the rows of length d whose R^T R is nearest to that of the rows.

    Args:
        rows: [k, d].
        keep: Rows to be left with, at most.

    Returns:
        [min(keep, k, d), d], the eigenvectors of rows^T rows times the roots of their
        eigenvalues, largest last.
    """
    if rows.shape[0] > rows.shape[1]:
        return _root(rows.T @ rows)[:, -keep:].T
    last = len(rows) - 1
    first = max(0, len(rows) - keep)
    _, vectors = linalg.eigh(rows @ rows.T, subset_by_index=[first, last])
    return vectors.T @ rows


def _root(matrix: FloatArray) -> FloatArray:
    """Returns F [d, d] with F F^T = matrix, largest columns last.

    Rounding leaves a singular matrix with eigenvalues just below zero: they count as
    zero.
    """
    values, vectors = np.linalg.eigh(matrix)
    return vectors * np.sqrt(np.maximum(values, 0))


def _without_dust(factor: FloatArray) -> FloatArray:
    """Returns a factor without the columns that rounding alone has left there."""
    weights = (factor**2).sum(axis=0)
    return factor[:, weights > DUST * weights.max(initial=0)]


def law_of(moments: Moments, form: Form, rank: int) -> Law:
    """Returns the Gaussian with the moments of a stream, in some form.

    Args:
        moments: Taken in under the same form.
        form: full: the whole covariance; lowrank: its `rank` leading eigenvectors, and
            the variances that they leave out; diag: the variances; mean: nothing but
            the mean. Where there is no matrix, full is lowrank.
        rank: Of lowrank.

    Returns:
        A law of arrays [d], [d, r], [d] in float64.
    """
    size = len(moments.mean)
    factor: FloatArray = np.zeros((size, 0))
    if moments.scatter is not None:
        factor = _without_dust(_root(moments.scatter / moments.count))
    elif moments.rows is not None:
        rows = compressed(moments.rows, rank).astype(np.float64)
        factor = rows.T / np.sqrt(moments.count)
    residual = np.zeros(size)
    if form == "diag" or moments.rows is not None:
        residual = np.maximum(moments.variance - (factor**2).sum(axis=1), 0)
    return Law(moments.mean, factor, residual)


def sample(law: Law, n: int, generator: np.random.Generator) -> FloatArray:
    """Draws from a Gaussian.

    Rows are mean + z F^T: with z F, or with the covariance in the place of its factor,
    the drawn vectors would have another covariance than the law.

    Args:
        law: Arrays [d], [d, r], [d].
        n: Vectors to draw.
        generator: What draws.

    Returns:
        [n, d], in the float type of the mean.
    """
    size, rank = law.factor.shape
    dtype: Any = law.mean.dtype
    drawn = law.mean + generator.standard_normal((n, rank), dtype) @ law.factor.T
    if law.residual.any():
        noise = generator.standard_normal((n, size), dtype)
        drawn = drawn + noise * np.sqrt(law.residual)
    return drawn.astype(dtype)
