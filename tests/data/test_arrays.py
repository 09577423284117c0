from __future__ import annotations

import numpy as np
import pytest

from data import DatasetError
from data.arrays import ArrayDataset, from_delivered
from data.batching import seed_pair
from data.images import Delivered
from network_pruning.types import Dataset


def delivered(train=40, test=12, classes=3, dtype=np.uint8):
    generator = np.random.default_rng(0)

    def part(size):
        images = generator.integers(0, 256, (size, 4, 5, 1)).astype(np.uint8)
        if dtype != np.uint8:
            images = (images / 255).astype(dtype)
        return images, np.arange(size) % classes

    return Delivered(part(train), part(test) if test else None, classes)


@pytest.fixture
def dataset():
    return from_delivered("toy", delivered(), 10, "random", 0)


def collect(batches):
    pairs = list(batches.as_numpy_iterator())
    return np.concatenate([x for x, _ in pairs]), np.concatenate([y for _, y in pairs])


def test_is_a_dataset(dataset):
    assert isinstance(dataset, Dataset)
    assert (dataset.name, dataset.num_classes) == ("toy", 3)
    assert dataset.input_shape == (4, 5, 1)
    assert dataset.in_memory
    assert not dataset.multi_label
    assert [dataset.size(split) for split in ("train", "valid", "test")] == [30, 10, 12]
    for split in ("train", "valid", "test"):
        images, labels = getattr(dataset, f"x_{split}"), getattr(dataset, f"y_{split}")
        assert (images.dtype, labels.dtype) == (np.float32, np.int64)
        assert len(images) == len(labels) == dataset.size(split)


@pytest.mark.parametrize("test", [12, 0])
@pytest.mark.parametrize("how", ["random", "first"])
def test_split_indices_lead_back_to_what_was_delivered(how, test):
    source = delivered(test=test)
    dataset = from_delivered("toy", source, 10, how, 0)
    origins = {"train": source.train, "valid": source.train}
    origins["test"] = source.test or source.train
    for split, (images, labels) in origins.items():
        rows = dataset.split_indices[split]
        expected = images[rows].astype(np.float64) / 255
        np.testing.assert_allclose(
            getattr(dataset, f"x_{split}"), expected, rtol=1e-6, atol=0
        )
        np.testing.assert_array_equal(getattr(dataset, f"y_{split}"), labels[rows])


def test_float_images_stay_as_they_are():
    source = delivered(dtype=np.float32)
    dataset = from_delivered("toy", source, 10, "first", 0)
    np.testing.assert_array_equal(dataset.x_valid, source.train[0][:10])


def test_batches_without_seed_keep_the_order_and_the_ragged_end(dataset):
    batches = dataset.batches("train", 8)
    assert [len(y) for _, y in batches.as_numpy_iterator()] == [8, 8, 8, 6]
    images, labels = collect(batches)
    np.testing.assert_array_equal(images, dataset.x_train)
    np.testing.assert_array_equal(labels, dataset.y_train)
    assert int(batches.cardinality()) == 4


@pytest.mark.parametrize("seed", [0, 5, [5, 2]])
def test_order_under_a_seed_is_numpys_permutation(dataset, seed):
    order = np.random.default_rng(seed).permutation(30)
    batches = dataset.batches("train", 7, seed)
    for _ in range(2):  # each pass is the same: an epoch is part of the seed
        images, labels = collect(batches)
        np.testing.assert_array_equal(images, dataset.x_train[order])
        np.testing.assert_array_equal(labels, dataset.y_train[order])


def test_augment_sees_every_batch_under_its_own_seed(dataset):
    import tensorflow as tf

    def noise(images, seed):
        return images + tf.random.stateless_uniform(tf.shape(images), seed)

    def added(seed):
        images, labels = collect(dataset.batches("train", 10, seed, noise))
        plain, same = collect(dataset.batches("train", 10, seed))
        np.testing.assert_array_equal(labels, same)
        return images - plain

    first = added([1, 0])
    np.testing.assert_array_equal(first, added([1, 0]))
    assert np.abs(first[:10] - first[10:20]).max() > 0.1
    assert np.abs(first - added([1, 1])).max() > 0.1
    assert 0.4 < first.mean() < 0.6


def test_seed_pairs_fit_tensorflow_and_differ():
    pairs = {seed_pair(seed) for seed in (None, 1, 2, (1, 2), (1, 1), 2**40)}
    assert len(pairs) == 6
    assert all(0 <= number < 2**31 for pair in pairs for number in pair)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("training", 8), "got 'training', expected one of train, valid, test"),
        (("train", 0), "got 0, expected at least 1"),
        (("valid", 8, None, lambda images, seed: images), "got split 'valid'"),
    ],
)
def test_bad_requests(dataset, arguments, words):
    with pytest.raises(DatasetError, match=words):
        dataset.batches(*arguments)


def test_size_of_an_unknown_split(dataset):
    with pytest.raises(DatasetError, match="got 'dev'"):
        dataset.size("dev")


def test_fingerprint_is_of_content_and_split():
    def mark(source=None, num_valid=10, how="random", seed=0, name="toy"):
        return from_delivered(
            name, source or delivered(), num_valid, how, seed
        ).fingerprint

    assert len(mark()) == 64
    assert mark() == mark(name="other name, same content")
    changed = delivered()
    changed.train[0][3, 2, 1, 0] ^= 1
    relabelled = delivered()
    relabelled.test[1][0] = 2
    marks = [
        mark(),
        mark(num_valid=11),
        mark(seed=1),
        mark(how="first"),
        mark(changed),
        mark(relabelled),
    ]
    assert len(set(marks)) == len(marks)


def test_fingerprint_does_not_depend_on_the_order_of_delivery():
    source = delivered()
    shuffle = np.random.default_rng(1).permutation(40)
    moved = Delivered(tuple(part[shuffle] for part in source.train), source.test, 3)
    here = from_delivered("toy", source, 10, "random", 0)
    there = from_delivered("toy", moved, 10, "random", 0)
    np.testing.assert_array_equal(here.x_train, there.x_train)
    assert here.fingerprint == there.fingerprint


def test_made_from_arrays_alone():
    images = np.zeros((4, 2, 2, 1), np.float32)
    parts = {split: (images, np.arange(4)) for split in ("train", "valid", "test")}
    dataset = ArrayDataset("made", parts, num_classes=4)
    other = ArrayDataset("made", parts, num_classes=5)
    assert len(dataset.fingerprint) == 64
    assert dataset.fingerprint != other.fingerprint
    assert dataset.split_indices is None


def test_multi_label_batches():
    images = np.zeros((20, 2, 2, 1), np.uint8)
    images[:, 0, 0, 0] = np.arange(20)
    attributes = np.random.default_rng(0).integers(0, 2, (20, 3)).astype(np.uint8)
    source = Delivered((images, attributes), None, 3, ("a", "b", "c"), True)
    dataset = from_delivered("faces", source, None, "random", 0)
    sizes = [dataset.size(split) for split in ("train", "valid", "test")]
    assert sizes == [13, 3, 4]
    _, labels = collect(dataset.batches("test", 3))
    assert labels.dtype == np.uint8
    np.testing.assert_array_equal(labels, attributes[dataset.split_indices["test"]])


def test_fewer_images_to_learn_from_are_other_data():
    parts = {
        split: (np.random.default_rng(n).random((n, 2, 2, 1), np.float32), np.arange(n))
        for split, n in {"train": 6, "valid": 2, "test": 3}.items()
    }
    rows = {"train": np.arange(6) + 4}
    whole = ArrayDataset("few", parts, num_classes=6, split_indices=rows)
    fewer = whole.with_train(4)
    np.testing.assert_array_equal(fewer.x_train, whole.x_train[:4])
    assert [fewer.size(split) for split in ("train", "valid", "test")] == [4, 2, 3]
    assert fewer.split_indices["train"].tolist() == [4, 5, 6, 7]
    assert fewer.fingerprint != whole.fingerprint
    with pytest.raises(ValueError, match="num_train: got 7, expected 1 to 6"):
        whole.with_train(7)
