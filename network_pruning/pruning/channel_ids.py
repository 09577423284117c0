"""Numbers for channels, united where two must share their fate."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]


class ChannelIds:
    """Hands out numbers and couples them (a union-find over arrays)."""

    def __init__(self) -> None:
        self.size = 0
        self._pairs: list[IntArray] = [np.empty((2, 0), np.int64)]

    def fresh(self, n: int) -> IntArray:
        """Returns n new ids."""
        self.size += n
        return np.arange(self.size - n, self.size)

    def unite(self, a: IntArray, b: IntArray) -> None:
        """Couples a[i] with b[i] for each i."""
        self._pairs.append(np.stack([a, b]))

    def labels(self) -> IntArray:
        """Returns the smallest id coupled with each id, directly or not [size]."""
        labels = np.arange(self.size)
        a, b = np.concatenate(self._pairs, axis=1)
        while not np.array_equal(labels[a], labels[b]):
            one, other = labels[a], labels[b]
            smaller = np.minimum(one, other)
            np.minimum.at(labels, one, smaller)
            np.minimum.at(labels, other, smaller)
            labels = labels[labels]
        return labels
