"""What zeros buy: bytes and seconds of one kernel, dense, sparse and shrunk."""

from __future__ import annotations

import gzip
import math
from collections.abc import Callable

import numpy as np
import scipy.sparse
import tensorflow as tf

from network_pruning.evaluation.timing import repeat
from network_pruning.types import FloatArray

_FLOAT = 4
_INDEX = 4
GZIP_LEVEL = 6


def dense_bytes(kernel: FloatArray) -> int:
    """Counts the bytes of a kernel stored as it is.

    Args:
        kernel: Any shape.

    Returns:
        4 for each entry.
    """
    return _FLOAT * np.asarray(kernel).size


def csr_bytes(kernel: FloatArray) -> int:
    """Counts the bytes of a kernel in compressed sparse rows.

    Args:
        kernel: [in, out]; of higher rank, its leading axes are the rows.

    Returns:
        A float32 value and an int32 column for each nonzero, an int32 pointer for each
        row and one more.
    """
    w = np.asarray(kernel)
    rows = math.prod(w.shape[:-1])
    return (_FLOAT + _INDEX) * int(np.count_nonzero(w)) + _INDEX * (rows + 1)


def bitmask_bytes(kernel: FloatArray) -> int:
    """Counts the bytes of a kernel as its nonzeros and a map of where they belong.

    Args:
        kernel: Any shape.

    Returns:
        A float32 value for each nonzero and a bit for each entry, in whole bytes.
    """
    w = np.asarray(kernel)
    return _FLOAT * int(np.count_nonzero(w)) + (w.size + 7) // 8


def gzip_bytes(kernel: FloatArray) -> int:
    """Counts the bytes of a kernel stored as it is and gzipped (level 6).

    Args:
        kernel: Any shape.

    Returns:
        Length of the gzip stream of its float32 entries, without a time stamp.
    """
    return gzipped_size(np.ascontiguousarray(kernel, np.float32).tobytes())


def gzipped_size(content: bytes) -> int:
    """Counts the bytes of a content gzipped (level 6, no time stamp).

    Args:
        content: Any.

    Returns:
        Length of the gzip stream.
    """
    return len(gzip.compress(content, GZIP_LEVEL, mtime=0))


def matmul_times(
    kernel: FloatArray,
    batch: int,
    repeats: int,
    kept: tuple[int, int] | None = None,
    seed: int = 0,
) -> dict[str, float]:
    """Times x @ kernel in the forms one may give to the kernel.

    Args:
        kernel: [in, out], with zeros.
        batch: Rows of x.
        repeats: Runs of each form, after a warm-up.
        kept: Shape of the kernel with its dead units cut out; without it no shrunk.
        seed: Of x and of the shrunk kernel's entries, which do not matter.

    Returns:
        Median seconds by form: "dense (numpy)", "dense (tensorflow)", "csr (scipy)",
        and "shrunk (numpy)" if `kept` is given.
    """
    rng = np.random.default_rng(seed)
    w = np.ascontiguousarray(kernel, np.float32)
    x = rng.random((batch, w.shape[0]), np.float32)
    # Sparse times dense is the product SciPy has: kernel^T @ x^T.
    sparse, x_transposed = scipy.sparse.csr_matrix(w.T), np.ascontiguousarray(x.T)
    tensor_x, tensor_w = tf.constant(x), tf.constant(w)
    forms: dict[str, Callable[[], object]] = {
        "dense (numpy)": lambda: x @ w,
        "dense (tensorflow)": lambda: tf.matmul(tensor_x, tensor_w).numpy(),
        "csr (scipy)": lambda: sparse @ x_transposed,
    }
    if kept is not None:
        small_x = rng.random((batch, kept[0]), np.float32)
        small_w = rng.random(kept, np.float32)
        forms["shrunk (numpy)"] = lambda: small_x @ small_w
    return {
        name: float(np.median(repeat(form, runs=repeats, seconds=0.0)))
        for name, form in forms.items()
    }
