"""The published sets, read from the folder that TFDS_DATA_DIR names."""

from __future__ import annotations

import numpy as np
import pytest

import data

pytestmark = pytest.mark.real_data


@pytest.mark.parametrize("name", ["digits", "fashion"])
def test_sets_of_the_mnist_family(name):
    dataset = data.load(name)
    assert dataset.input_shape == (28, 28, 1)
    sizes = [dataset.size(split) for split in ("train", "valid", "test")]
    assert sizes == [50_000, 10_000, 10_000]
    assert dataset.x_train.min() == 0
    assert dataset.x_train.max() == 1
    assert len(np.unique(dataset.y_test)) == 10


def test_first_is_the_original_order_of_mnist():
    dataset = data.load("digits", split="first")
    assert dataset.y_valid[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert dataset.y_test[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]


def test_streamed_holds_the_same_images():
    held = data.load("digits", split="first")
    streamed = data.load("digits", split="first", in_memory=False)
    images, labels = next(streamed.batches("train", 500).as_numpy_iterator())
    np.testing.assert_allclose(images, held.x_train[:500], rtol=1e-6)
    np.testing.assert_array_equal(labels, held.y_train[:500])
