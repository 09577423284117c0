from __future__ import annotations

import numpy as np
import pytest

import data
from data import DatasetError, images, streamed

SIZES = {"train": 40, "test": 12}


def collect(batches):
    pairs = list(batches.as_numpy_iterator())
    return np.concatenate([x for x, _ in pairs]), np.concatenate([y for _, y in pairs])


@pytest.fixture
def made(store_images):
    return store_images("own_set", SIZES)


def load(**options):
    return data.load("own_set", in_memory=False, **options)


def test_streams_what_is_stored(made):
    dataset = load(num_valid=10)
    assert not dataset.in_memory
    assert (dataset.name, dataset.num_classes) == ("own_set", 3)
    assert dataset.input_shape == (6, 5, 3)
    for split in ("train", "valid", "test"):
        pixels, labels = made["test" if split == "test" else "train"]
        rows = dataset.split_indices[split]
        assert dataset.size(split) == len(rows)
        found, targets = collect(dataset.batches(split, 7))
        assert (found.dtype, targets.dtype) == (np.float32, np.int64)
        np.testing.assert_array_equal(np.rint(found * 255), pixels[rows])
        np.testing.assert_array_equal(targets, labels[rows])
        assert found.max() <= 1


def test_first_takes_the_first_records(made):
    dataset = load(split="first", num_valid=9)
    found, _ = collect(dataset.batches("valid", 4))
    np.testing.assert_array_equal(np.rint(found * 255), made["train"][0][:9])


def test_arrays_are_refused_with_a_reason(made):
    dataset = load()
    with pytest.raises(
        AttributeError, match=r"x_train: .* is streamed; use batches\(\)"
    ):
        _ = dataset.x_train
    with pytest.raises(AttributeError, match="has no attribute 'colour'"):
        _ = dataset.colour


def test_seeded_order_is_a_permutation_that_repeats(made):
    dataset = load(num_valid=10)

    def order(seed):
        found, _ = collect(dataset.batches("train", 8, seed))
        return np.rint(found[:, 0, 0, 0] * 255).tolist()

    plain, shuffled = order(None), order([3, 0])
    assert shuffled != plain
    assert sorted(shuffled) == sorted(plain)
    assert order([3, 0]) == shuffled
    assert order([3, 1]) != shuffled
    batches = dataset.batches("train", 8, 4)
    np.testing.assert_array_equal(collect(batches)[0], collect(batches)[0])


def test_ragged_end_and_augment(made):
    dataset = load(num_valid=10)
    batches = dataset.batches("train", 8, 0, lambda images, seed: images * 0 + 0.5)
    found = [x for x, _ in batches.as_numpy_iterator()]
    assert [len(x) for x in found] == [8, 8, 8, 6]
    assert np.unique(np.concatenate(found)).tolist() == [0.5]
    with pytest.raises(DatasetError, match="got split 'test'"):
        dataset.batches("test", 8, None, lambda images, seed: images)


def test_resized_as_sets_in_memory_are(made):
    dataset = load(image_size=(3, 4))
    expected = images.resize(made["test"][0], (3, 4)) / 255
    found, _ = collect(dataset.batches("test", 5))
    # PIL rounds after each of its two passes
    np.testing.assert_allclose(found, expected, atol=1.5 / 255)


def test_fixed_fifth_where_there_is_no_test_split(store_images):
    store_images("own_set", {"train": 50})
    first, second = load(seed=0), load(seed=1)
    assert first.size("test") == 10
    np.testing.assert_array_equal(
        first.split_indices["test"], second.split_indices["test"]
    )
    assert first.split_indices["valid"].tolist() != (
        second.split_indices["valid"].tolist()
    )
    collected = [collect(first.batches(s, 9))[1] for s in ("train", "valid", "test")]
    assert len(np.concatenate(collected)) == 50


def test_fingerprint_follows_split_and_shape(made):
    marks = [
        load().fingerprint,
        load(seed=1).fingerprint,
        load(num_valid=3).fingerprint,
        load(image_size=(4, 4)).fingerprint,
    ]
    assert len(set(marks)) == 4
    assert load().fingerprint == marks[0]


def test_attributes(store):
    import tensorflow_datasets as tfds

    features = {
        "image": tfds.features.Image(shape=(4, 4, 3), encoding_format="jpeg"),
        "attributes": {name: np.bool_ for name in ("b", "a")},
    }
    records = [
        {
            "image": np.full((4, 4, 3), 5 * i, np.uint8),
            "attributes": {"b": i % 2 == 0, "a": i % 3 == 0},
        }
        for i in range(20)
    ]
    store("celeb_a", features, {"train": records})
    dataset = data.load("celeb_a", in_memory=False)
    assert dataset.multi_label
    found, targets = collect(dataset.batches("train", 6))
    assert (targets.dtype, targets.shape) == (np.uint8, (dataset.size("train"), 2))
    numbers = dataset.split_indices["train"]
    np.testing.assert_array_equal(targets[:, 0], numbers % 3 == 0)
    np.testing.assert_array_equal(targets[:, 1], numbers % 2 == 0)
    np.testing.assert_allclose(found[:, 0, 0, 0] * 255, 5 * numbers, atol=3)


def test_seeded_order_shuffles_runs_before_records(made, monkeypatch):
    monkeypatch.setattr(streamed, "RUN_RECORDS", 7)
    monkeypatch.setattr(streamed, "SHUFFLE_RECORDS", 1)
    dataset = load(split="first", num_valid=10)
    runs = [range(10, 17), range(17, 24), range(24, 31), range(31, 38), range(38, 40)]
    order = np.random.default_rng(5).permutation(5)
    rows = [row for number in order for row in runs[number]]
    found, _ = collect(dataset.batches("train", 8, 5))
    np.testing.assert_array_equal(np.rint(found * 255), made["train"][0][rows])
    in_order, _ = collect(dataset.batches("train", 8))
    np.testing.assert_array_equal(np.rint(in_order * 255), made["train"][0][10:])
