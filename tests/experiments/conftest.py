"""What tests of the experiments share."""

from __future__ import annotations

import pytest

import data
from data.arrays import ArrayDataset


@pytest.fixture(scope="session")
def digits():
    """Real digits, few of them; not to be written to."""
    whole = data.load("uci_digits", image_size=(8, 8))
    parts = {
        split: (getattr(whole, f"x_{split}")[:n], getattr(whole, f"y_{split}")[:n])
        for split, n in {"train": 500, "valid": 60, "test": 100}.items()
    }
    return ArrayDataset("uci_digits", parts, num_classes=10)
