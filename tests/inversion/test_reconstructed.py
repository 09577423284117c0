"""Reconstructed images are a dataset without a test split."""

import numpy as np
import pytest
import tf_keras as keras

from network_pruning.inversion.reconstructed import Reconstructed
from network_pruning.types import Dataset
from network_pruning.views import without_test


@pytest.fixture
def data():
    images = np.arange(60 * 4, dtype=np.float32).reshape(60, 2, 2, 1)
    return Reconstructed(images, np.arange(60) % 3, 3)


def test_the_last_tenth_of_each_class_validates(data):
    np.testing.assert_array_equal(data.x_valid[:, 0, 0, 0] / 4, range(54, 60))
    np.testing.assert_array_equal(data.x_train[:, 0, 0, 0] / 4, range(54))
    np.testing.assert_array_equal(data.y_valid, [0, 1, 2, 0, 1, 2])


def test_few_images_leave_one_of_each_class(data):
    images = np.zeros((7, 2, 2, 1), np.float32)
    few = Reconstructed(images, np.array([0, 0, 1, 1, 1, 2, 2]), 3)
    np.testing.assert_array_equal(few.y_valid, [0, 1, 2])
    one = Reconstructed(images[:3], np.arange(3), 3)
    assert (one.size("train"), one.size("valid")) == (3, 0)


def test_batches_are_as_the_protocol_says(data):
    order = np.random.default_rng([1, 2]).permutation(54)
    batches = list(data.batches("train", 20, [1, 2]))
    assert [len(labels) for _, labels in batches] == [20, 20, 14]
    labels = np.concatenate([labels for _, labels in batches])
    np.testing.assert_array_equal(labels, data.y_train[order])
    plain = np.concatenate([images for images, _ in data.batches("valid", 4)])
    np.testing.assert_array_equal(plain, data.x_valid)


def test_training_batches_are_augmented_each_by_its_own_seed(data):
    seeds = []

    def augment(images, pair):
        seeds.append(pair.shape)
        return images + 1000.0 * float(1) + 0 * images[:1] * 0 + float(0)

    moved = np.concatenate([x for x, _ in data.batches("train", 20, 3, augment)])
    order = np.random.default_rng(3).permutation(54)
    np.testing.assert_array_equal(moved, data.x_train[order] + 1000)
    assert seeds == [(2,)]


def test_there_is_no_test_split(data):
    assert not hasattr(data, "x_test")
    with pytest.raises(AttributeError, match="have no test split, judge networks on"):
        data.x_test  # noqa: B018
    with pytest.raises(ValueError, match="split: got 'test', expected train or valid"):
        data.size("test")
    with pytest.raises(AttributeError, match="no attribute 'z'"):
        data.z  # noqa: B018
    assert without_test(data).size("train") == 54


def test_its_fingerprint_is_of_images_and_labels(data):
    images = np.concatenate([data.x_train, data.x_valid])
    same = Reconstructed(images, np.arange(60) % 3, 3, "another name")
    other = Reconstructed(images, np.arange(1, 61) % 3, 3)
    assert same.fingerprint == data.fingerprint != other.fingerprint


def test_it_has_what_a_dataset_has(data):
    named = [n for n in Dataset.__annotations__ if n not in {"x_test", "y_test"}]
    assert all(hasattr(data, name) for name in named)
    assert (data.in_memory, data.multi_label, data.num_classes) == (True, False, 3)


def test_attributes_are_what_a_network_sees(data):
    halves = keras.Sequential([
        keras.Input((2, 2, 1)),
        keras.layers.Flatten(),
        keras.layers.Dense(2),
    ])
    kernel = np.zeros((4, 2), np.float32)
    kernel[0] = [1.0, -1.0]
    halves.set_weights([kernel, np.array([-120.0, 60.0], np.float32)])
    seen = data.with_attributes(halves)
    assert seen.multi_label and not data.multi_label
    for split in ("train", "valid"):
        first = getattr(seen, f"x_{split}")[:, 0, 0, 0]
        present = np.stack([first > 120, first < 60], axis=1)
        np.testing.assert_array_equal(getattr(seen, f"y_{split}"), present)
        assert next(iter(seen.batches(split, 5)))[1].shape == (5, 2)
    assert data.y_train.ndim == 1
