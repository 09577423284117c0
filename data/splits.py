"""Which image goes to which split: pure arithmetic on content digests and labels.

The random split follows the images' content, not the order in which they are delivered:
images are put in canonical order (by digest) first.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from data.errors import DatasetError

Rows = npt.NDArray[np.int64]
STREAM_RUNS = 100
"""Runs of records that make up a random part of a streamed dataset."""


@dataclass(frozen=True)
class Pool:
    """What a source delivers under one name, in its order, reduced to digests.

    Attributes:
        digests: Of image and label, uint8 [n, 32].
        classes: int64 [n]; all zero where there is no single class per image.
    """

    digests: npt.NDArray[np.uint8]
    classes: Rows


def digests(
    images: npt.NDArray[Any], labels: npt.NDArray[Any]
) -> npt.NDArray[np.uint8]:
    """Computes the SHA-256 of every image with its label.

    Args:
        images: [n, ...], any dtype.
        labels: [n, ...], any dtype.

    Returns:
        uint8 [n, 32].
    """
    pixels = _rows_of_bytes(images)
    marks = _rows_of_bytes(labels)
    found = bytearray()
    for pixel_row, label_row in zip(pixels, marks, strict=True):
        content = hashlib.sha256(pixel_row)
        content.update(label_row)
        found += content.digest()
    return np.frombuffer(bytes(found), np.uint8).reshape(-1, 32)


def _rows_of_bytes(array: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    return np.ascontiguousarray(little).reshape(len(array), -1).view(np.uint8)


def canonical_order(digests: npt.NDArray[np.uint8]) -> Rows:
    """Returns the rows int64 [n] in ascending order of their digests [n, 32]."""
    words = digests.view(">u8")
    return np.lexsort(words.T[::-1])


def pick_num_valid(num_valid: int | None, train_size: int) -> int:
    """Settles the number of validation images.

    Args:
        num_valid: As asked for; None: 10 000, or a fifth of the training images where
            there are fewer than 20 000.
        train_size: Training images before validation is taken out of them.

    Returns:
        A number from 1 to train_size - 1.

    Raises:
        DatasetError: If nothing would be left for one of the two splits.
    """
    if num_valid is None:
        num_valid = 10_000 if train_size >= 20_000 else train_size // 5
    if not 0 < num_valid < train_size:
        raise DatasetError(
            f"num_valid: got {num_valid} of {train_size} training images, expected at "
            f"least 1 and fewer than all"
        )
    return num_valid


def divide(
    pool: Pool, test: Pool | None, num_valid: int | None, how: str, seed: int
) -> dict[str, Rows]:
    """Divides what was delivered into train, valid and test.

    Args:
        pool: The training images.
        test: The test images; None: the pool's stratified fifth is the test split.
        num_valid: See `pick_num_valid`.
        how: "random": seeded, rows in canonical order; "first": the first `num_valid`
            training images as delivered are the validation images, rows as delivered.
        seed: Of the random split.

    Returns:
        Rows int64 of every split; of `test` where it is given, else of `pool`.
    """
    canonical = canonical_order(pool.digests)
    if test is None:
        test_rows = stratified_fifth(pool.classes, canonical)
    elif how == "first":
        test_rows = np.arange(len(test.digests))
    else:
        test_rows = canonical_order(test.digests)
    order = np.arange(len(canonical)) if how == "first" else canonical
    if test is None:
        order = order[~np.isin(order, test_rows)]
    count = pick_num_valid(num_valid, len(order))
    valid = np.arange(count) if how == "first" else _draw(len(order), count, seed)
    return {
        "train": np.delete(order, valid),
        "valid": order[valid],
        "test": test_rows,
    }


def _draw(total: int, count: int, seed: int) -> Rows:
    return np.sort(np.random.default_rng(seed).permutation(total)[:count])


def stratified_fifth(classes: Rows, order: Rows) -> Rows:
    """Takes a fifth of every class, always the same: the first ones of an order.

    Args:
        classes: int64 [n].
        order: A permutation of the n rows.

    Returns:
        Rows in that order; one at least of every class that has two.
    """
    rank = np.empty(len(order), np.int64)
    sizes = np.zeros(len(order), np.int64)
    for label in np.unique(classes):
        members = order[classes[order] == label]
        rank[members] = np.arange(len(members))
        sizes[members] = len(members)
    quota = np.maximum((sizes + 2) // 5, sizes > 1)
    return order[rank[order] < quota[order]]


def divide_stream(
    total: int, test_total: int | None, num_valid: int | None, how: str, seed: int
) -> dict[str, Rows]:
    """Divides records that are too many to be looked at.

    Args:
        total: Training records.
        test_total: Test records; None: a fixed fifth of the training records, spread
            over all of them, is the test split.
        num_valid: See `pick_num_valid`.
        how: "random": seeded runs of records; "first": the first records.
        seed: Of the random split.

    Returns:
        Ascending rows int64 of every split; of the test records where there are any,
        else of the training records.
    """
    rows = np.arange(total)
    if test_total is None:
        test_rows = seeded_runs(total, total // 5, seed=0)
        rows = np.delete(rows, test_rows)
    else:
        test_rows = np.arange(test_total)
    count = pick_num_valid(num_valid, len(rows))
    first = how == "first"
    valid = np.arange(count) if first else seeded_runs(len(rows), count, seed)
    return {"train": np.delete(rows, valid), "valid": rows[valid], "test": test_rows}


def seeded_runs(total: int, count: int, seed: int) -> Rows:
    """Draws `count` of `total` records in runs, so that a stream can skip the others.

    The records are cut into equal stretches, and each gives one run at a random place.

    Returns:
        Ascending rows int64 [count].
    """
    pieces = min(STREAM_RUNS, count)
    cuts = np.arange(pieces + 1)
    starts = cuts[:-1] * (total - count) // max(pieces, 1)
    stops = cuts[1:] * (total - count) // max(pieces, 1)
    shifts = np.random.default_rng(seed).integers(starts, stops, endpoint=True)
    drawn = np.arange(count)
    return drawn + shifts[drawn * pieces // max(count, 1)]


def runs(rows: Rows, longest: int | None = None) -> list[tuple[int, int]]:
    """Joins ascending rows into runs.

    Args:
        rows: int64, ascending, not empty.
        longest: Most rows of a run, or None: no limit.

    Returns:
        Runs (from, to), ascending, `to` excluded.
    """
    ends = np.flatnonzero(np.diff(rows) != 1) + 1
    whole = [(int(part[0]), int(part[-1]) + 1) for part in np.split(rows, ends)]
    if longest is None:
        return whole
    return [
        (begin, min(begin + longest, stop))
        for start, stop in whole
        for begin in range(start, stop, longest)
    ]
