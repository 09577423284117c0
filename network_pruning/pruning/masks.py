"""Masks from scores: exact counts, ties to the lowest index. Plain arrays, no Keras.

A mask is a bool array, True = keep. Sparsity is the share removed, in [0, 1), read as
the decimal it was typed as: 0.29 of 100 removes 29, whatever 0.29 is in binary.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable, Mapping
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from network_pruning.types import BoolArray, FloatArray


def check_sparsity(sparsity: float) -> None:
    """Refuses what is no share in [0, 1).

    Raises:
        ValueError: If sparsity is no number, NaN, or outside [0, 1).
    """
    if not isinstance(sparsity, numbers.Real) or not 0 <= sparsity < 1:
        raise ValueError(
            f"sparsity: got {sparsity!r}, expected a share removed in [0, 1), "
            "such as 0.5."
        )


def removed_count(n: int, sparsity: float) -> int:
    """Counts what a sparsity removes of n entries: floor(sparsity * n), exactly.

    Never all of them, as sparsity < 1.

    Args:
        n: Number of entries.
        sparsity: Share removed, in [0, 1).

    Returns:
        Number of entries removed, in [0, n).

    Raises:
        ValueError: If sparsity is outside [0, 1).
    """
    check_sparsity(sparsity)
    return math.floor(n * Fraction(str(sparsity)))


def keep_count(
    scores: FloatArray, kept: int, forced: BoolArray | None = None
) -> BoolArray:
    """Keeps the `kept` highest scores.

    Args:
        scores: Importance [...]; higher = keep.
        kept: Number of entries to keep, in [0, scores.size].
        forced: Entries [...] that stay in any case, before all others.

    Returns:
        Bool mask [...], exactly `kept` True, or as many as are forced if that is more;
        ties kept at the lowest flat index.

    Raises:
        ValueError: If a score is NaN or `kept` is out of range.
    """
    scores = np.asarray(scores)
    check_numbers(scores)
    if not 0 <= kept <= scores.size:
        raise ValueError(
            f"kept: got {kept}, expected at most the {scores.size} entries there are."
        )
    if forced is not None and forced.any():
        mask = forced.copy()
        rest = max(kept - int(np.count_nonzero(forced)), 0)
        mask[~forced] = keep_count(scores[~forced], rest)
        return mask
    flat = scores.ravel()
    if kept == 0 or kept == flat.size:
        return np.full(scores.shape, kept > 0)
    place = flat.size - kept
    threshold = np.partition(flat, place)[place]
    mask = flat > threshold
    ties = np.flatnonzero(flat == threshold)
    mask[ties[: kept - np.count_nonzero(mask)]] = True
    return mask.reshape(scores.shape)


def best_of_each(scores: FloatArray, parts: Iterable[BoolArray]) -> BoolArray:
    """Marks the highest score of each part, the first of equal ones.

    Args:
        scores: Importance [n].
        parts: Entries of each part [n], none empty.

    Returns:
        Bool [n].
    """
    mask = np.zeros(len(scores), bool)
    for part in parts:
        places = np.flatnonzero(part)
        mask[places[np.argmax(scores[places])]] = True
    return mask


def keep_largest(
    scores: FloatArray, sparsity: float, forced: BoolArray | None = None
) -> BoolArray:
    """Keeps the highest scores; O(n).

    Args:
        scores: Importance [...]; higher = keep.
        sparsity: Share removed, in [0, 1).
        forced: Entries [...] that stay in any case.

    Returns:
        Bool mask [...]; exactly `removed_count(scores.size, sparsity)` False unless
        more are forced, ties kept at the lowest flat index.

    Raises:
        ValueError: If sparsity is outside [0, 1) or a score is NaN.
    """
    scores = np.asarray(scores)
    kept = scores.size - removed_count(scores.size, sparsity)
    return keep_count(scores, kept, forced)


def keep_largest_global(
    scores: Mapping[str, FloatArray],
    sparsity: float,
    *,
    keep_one: bool = True,
    normalise: bool = False,
    forced: Mapping[str, BoolArray] | None = None,
) -> dict[str, BoolArray]:
    """Keeps the highest scores of several arrays under one threshold.

    Args:
        scores: Importance by name, any shapes; higher = keep.
        sparsity: Share removed of all entries together, in [0, 1).
        keep_one: Whether the best entry of each array stays in any case; the total is
            exact nevertheless, unless there are more arrays than entries to keep.
        normalise: Whether to divide each array by its mean absolute score first.
        forced: Entries by name that stay in any case.

    Returns:
        Bool masks by name; ties kept in the order of the names, then of the flat index.

    Raises:
        ValueError: If sparsity is outside [0, 1) or a score is NaN.
    """
    flats = [np.asarray(s, np.float64).ravel() for s in scores.values()]
    if not flats:
        return {}
    removed = removed_count(sum(f.size for f in flats), sparsity)
    bounds = np.cumsum([f.size for f in flats])[:-1]
    together = np.concatenate([_normalised(f) if normalise else f for f in flats])
    check_numbers(together)
    mask = np.zeros(together.size, bool)
    if keep_one:
        starts = [0, *bounds]
        mask[[s + np.argmax(f) for s, f in zip(starts, flats, strict=True)]] = True
    if forced:
        none = [np.zeros(flat.size, bool) for flat in flats]
        named = zip(scores, none, strict=True)
        mask |= np.concatenate([forced.get(name, free).ravel() for name, free in named])
    open_places = np.flatnonzero(~mask)
    kept = max(together.size - removed - int(np.count_nonzero(mask)), 0)
    mask[open_places] = keep_count(together[open_places], kept)
    parts = zip(scores.items(), np.split(mask, bounds), strict=True)
    return {name: part.reshape(np.shape(s)) for (name, s), part in parts}


def check_numbers(scores: FloatArray) -> None:
    """Refuses scores that order nothing.

    Raises:
        ValueError: If one is NaN.
    """
    if np.isnan(scores).any():
        raise ValueError("scores: got NaN, expected numbers; is the network broken?")


def _normalised(scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    mean = np.abs(scores).mean()
    return scores / mean if mean else scores


def removed_share(masks: Mapping[str, BoolArray]) -> float:
    """Returns the share of False over all masks together: the sparsity achieved."""
    total = sum(mask.size for mask in masks.values())
    kept = sum(int(np.count_nonzero(mask)) for mask in masks.values())
    return (total - kept) / total if total else 0.0
