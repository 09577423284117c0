"""The images on which the jobs prove their cuts."""

from __future__ import annotations

import numpy.typing as npt

from network_pruning.pruning.certificate import PROOF_IMAGES
from network_pruning.types import Dataset


def proof_images(data: Dataset, count: int = PROOF_IMAGES) -> npt.NDArray:
    """Returns the first validation images, of a set in memory or not [n, h, w, c]."""
    images, _ = next(iter(data.batches("valid", count)))
    return images.numpy()
