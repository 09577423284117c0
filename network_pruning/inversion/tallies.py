"""What one pass over the training images adds up, and keeps in case it is stopped."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from network_pruning.inversion.collectors import Arrays, Collector, under
from network_pruning.inversion.parts import Pixels
from network_pruning.runs import RunDir
from network_pruning.types import FloatArray

SECONDS = 60.0
"""From one time that an unfinished pass is kept to the next."""


class Tally:
    """Sums over the images that were seen.

    Attributes:
        batches: Seen.
        counts: Images of each class [classes].
        collectors: Of what is recorded.
    """

    def __init__(
        self, classes: int, channels: int, collectors: Sequence[Collector]
    ) -> None:
        """Begins with nothing."""
        self.batches = 0
        self.counts = np.zeros(classes, np.int64)
        self.collectors = collectors
        # Of each channel's values: their number; sums of them and of their squares.
        self._values = 0
        self._sums = np.zeros((2, channels))
        self._ends = np.array([math.inf, -math.inf])

    def add(
        self,
        images: npt.NDArray[np.float32],
        labels: npt.NDArray[Any],
        vectors: Sequence[FloatArray],
    ) -> None:
        """Takes a batch in.

        Args:
            images: [n, h, w, c].
            labels: [n], or [n, attributes].
            vectors: For each collector [n, d].

        Raises:
            ValueError: If an activation is no number.
        """
        members = _members(labels, len(self.counts))
        self.counts += members.sum(axis=0)
        self._add_pixels(images.reshape(-1, images.shape[-1]).astype(np.float64))
        for collector, each in zip(self.collectors, vectors, strict=True):
            collector.add(_finite(each), members)
        self.batches += 1

    def _add_pixels(self, values: npt.NDArray[np.float64]) -> None:
        self._values += len(values)
        self._sums += values.sum(axis=0), (values**2).sum(axis=0)
        low, high = self._ends
        self._ends[:] = min(low, values.min()), max(high, values.max())

    def pixels(self) -> Pixels:
        """Returns what the images were like."""
        mean, square = self._sums / self._values
        low, high = map(float, self._ends)
        return Pixels(low, high, mean, np.sqrt(np.maximum(square - mean**2, 0)))

    def pack(self) -> Arrays:
        """Returns all of it, see `restore`."""
        arrays: Arrays = {
            "seen": np.array([self.batches, self._values]),
            "counts": self.counts,
            "sums": self._sums,
            "ends": self._ends,
        }
        for i, collector in enumerate(self.collectors):
            own = collector.pack()
            arrays |= {f"{i}: {name}": array for name, array in own.items()}
        return arrays

    def restore(self, arrays: Arrays) -> None:
        """Goes on where another one was packed."""
        self.batches, self._values = map(int, arrays["seen"])
        self.counts, self._sums = arrays["counts"], arrays["sums"]
        self._ends = arrays["ends"]
        for i, collector in enumerate(self.collectors):
            collector.restore(under(f"{i}: ", arrays))


class Unfinished:
    """The file of a pass that is on its way."""

    def __init__(self, run: RunDir, mark: str) -> None:
        """Names it.

        Args:
            run: Folder.
            mark: Of all that the pass depends on: of another one nothing is taken up.
        """
        self._run, self._name = run, f"unfinished-{mark}.npz"
        self._kept = time.monotonic()

    def restore(self, tally: Tally) -> None:
        """Takes up what was kept, if anything was."""
        if self._run.exists(self._name):
            tally.restore(self._run.read_arrays(self._name))

    def keep_when_due(self, tally: Tally) -> None:
        """Writes the tally now and then."""
        if time.monotonic() - self._kept >= SECONDS:
            self._run.write_arrays(self._name, tally.pack())
            self._kept = time.monotonic()

    def remove(self) -> None:
        """Forgets the pass: it is at its end."""
        self._run.remove(self._name)


def _finite(vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    if not np.isfinite(vectors).all():
        raise ValueError(
            "records: got activations that are no numbers, expected a trained network "
            "and its own images"
        )
    return vectors


def _members(labels: npt.NDArray[Any], classes: int) -> npt.NDArray[np.bool_]:
    """Returns which classes images belong to [n, classes], or attributes they have."""
    if labels.ndim == 2:
        return labels.astype(bool)
    return labels[:, None] == np.arange(classes)
