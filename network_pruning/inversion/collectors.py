"""Takes in activations image by image, keeps moments class by class."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from network_pruning.inversion import moments
from network_pruning.inversion.moments import Form, Law, Moments
from network_pruning.types import FloatArray

BATCH = 512
"""Vectors of a class that are taken in at once: enough for matrix products to pay."""
MOST_BYTES = 2**28
"""Of vectors that wait for others of their class."""
Arrays = dict[str, npt.NDArray[Any]]


class Collector:
    """Moments of each class, in memory that does not grow with the stream."""

    def __init__(self, classes: int, form: Form, rank: int) -> None:
        """Begins with nothing.

        Args:
            classes: How many.
            form: Of the laws that will be asked for.
            rank: Of the factors that will be asked for, where they are of low rank.
        """
        self.form, self.rank = form, rank
        self._moments: list[Moments | None] = [None] * classes
        self._waiting: list[list[FloatArray]] = [[] for _ in range(classes)]

    def add(self, vectors: FloatArray, members: npt.NDArray[np.bool_]) -> None:
        """Takes vectors in.

        Args:
            vectors: [n, d].
            members: Which classes each belongs to [n, classes].
        """
        for label in np.flatnonzero(members.any(axis=0)).tolist():
            waiting = self._waiting[label]
            waiting.append(vectors[members[:, label]])
            if sum(map(len, waiting)) >= BATCH:
                self._take_in(label)
        bytes_ = sum(part.nbytes for waiting in self._waiting for part in waiting)
        if bytes_ > MOST_BYTES:
            self._take_in_all()

    def moments(self) -> list[Moments]:
        """Returns the moments of each class so far; every class must have been seen."""
        self._take_in_all()
        return [each for each in self._moments if each is not None]

    def law(self) -> Law:
        """Returns the laws of all classes: arrays [classes, d], [classes, d, r] ..."""
        laws = [moments.law_of(each, self.form, self.rank) for each in self.moments()]
        widest = max(law.factor.shape[1] for law in laws)
        return Law(
            _stacked([law.mean for law in laws]),
            _stacked([_widened(law.factor, widest) for law in laws]),
            _stacked([law.residual for law in laws]),
        )

    def pack(self) -> Arrays:
        """Returns all that was taken in so far, see `restore`."""
        arrays: Arrays = {}
        for label, (known, waiting) in enumerate(
            zip(self._moments, self._waiting, strict=True)
        ):
            if waiting:
                arrays[f"{label} waiting"] = np.concatenate(waiting)
            fields = () if known is None else dataclasses.fields(known)
            for name in (field.name for field in fields):
                value = getattr(known, name)
                if value is not None:
                    arrays[f"{label} {name}"] = np.asarray(value)
        return arrays

    def restore(self, arrays: Arrays) -> None:
        """Takes up what another collector had when it was packed.

        Args:
            arrays: Of a collector of the same settings; what follows gives the very
                same moments as it would have there.
        """
        for label in range(len(self._moments)):
            own = under(f"{label} ", arrays)
            waiting = own.pop("waiting", None)
            self._waiting[label] = [] if waiting is None else [waiting]
            if own:
                count = int(own.pop("count"))
                self._moments[label] = Moments(count=count, **own)

    def _take_in_all(self) -> None:
        for label, waiting in enumerate(self._waiting):
            if waiting:
                self._take_in(label)

    def _take_in(self, label: int) -> None:
        batch = moments.of_batch(np.concatenate(self._waiting[label]), self.form)
        self._waiting[label] = []
        known = self._moments[label]
        keep = moments.SPARE * self.rank
        self._moments[label] = (
            batch if known is None else moments.merge(known, batch, keep)
        )


def under(prefix: str, arrays: Arrays) -> dict[str, Any]:
    """Returns the arrays whose names begin so, by the rest of their names."""
    return {
        name.removeprefix(prefix): array
        for name, array in arrays.items()
        if name.startswith(prefix)
    }


def _widened(factor: FloatArray, width: int) -> FloatArray:
    return np.pad(factor, ((0, 0), (0, width - factor.shape[1])))


def _stacked(arrays: list[Any]) -> npt.NDArray[np.float32]:
    return np.stack(arrays).astype(np.float32)
