"""Outputs of teachers, computed once and kept in a run."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import tf_keras as keras

from network_pruning.classifiers import plain
from network_pruning.evaluation.predict import predict_split
from network_pruning.graph import fingerprint
from network_pruning.runs import RunDir
from network_pruning.types import Dataset

PROBE = 8
"""Images that tell whether the pixels are those of another view of the same data."""


def cache_logits(
    teachers: Sequence[keras.Model],
    data: Dataset,
    run: RunDir,
    name: str,
    split: str = "train",
) -> npt.NDArray[np.float32]:
    """Returns the teachers' logits of a whole split, from a file where there is one.

    Args:
        teachers: One or several, which end in logits or in a softmax.
        data: In memory.
        run: Where the file is.
        name: Of the file, an npz.
        split: train or valid.

    Returns:
        Logits [n, classes], of several teachers [n, teachers, classes], in the order of
        the split.

    Raises:
        ValueError: If the file is of other teachers or data.
        DamagedFile: If it cannot be read.
    """
    key = identity(teachers, data, split)
    if run.exists(name):
        stored = run.read_arrays(name)
        if str(stored.get("identity")) != key or "logits" not in stored:
            raise ValueError(
                f"{run.path / name} holds the outputs of other teachers or for other "
                "data: delete it to have them computed again"
            )
        return stored["logits"]
    several = [predict_split(model, data, split)[0] for model in teachers]
    logits = several[0] if len(several) == 1 else np.stack(several, axis=1)
    logits = logits.astype(np.float32)
    run.write_arrays(name, {"logits": logits, "identity": np.array(key)})
    return logits


def identity(teachers: Sequence[keras.Model], data: Dataset, split: str) -> str:
    """Digests what the logits depend on: networks, data, and how pixels are scaled.

    Returns:
        SHA-256, 64 hexadecimal digits.
    """
    parts = [data.fingerprint, split, *(fingerprint(plain(m)) for m in teachers)]
    probe = np.ascontiguousarray(getattr(data, f"x_{split}")[:PROBE])
    return hashlib.sha256("|".join(parts).encode() + probe.tobytes()).hexdigest()
