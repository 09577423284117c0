from __future__ import annotations

import numpy as np
import pytest

import data
from data import DatasetError, images
from network_pruning.types import Dataset

SIZES = {"train": 40, "test": 12}


def faces(size):
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (size, 6, 5, 3), dtype=np.uint8)
    truth = generator.integers(0, 2, (size, 3)).astype(bool)
    records = [
        {
            "image": image,
            "attributes": dict(zip(("Young", "Bald", "Male"), row, strict=True)),
            "landmarks": {"nose_x": 3},
        }
        for image, row in zip(pixels, truth.tolist(), strict=True)
    ]
    return pixels, truth, records


def store_faces(store, size=40, test=10):
    import tensorflow_datasets as tfds

    pixels, truth, records = faces(size)
    features = {
        "image": tfds.features.Image(shape=(6, 5, 3)),
        "attributes": {name: np.bool_ for name in ("Young", "Bald", "Male")},
        "landmarks": {"nose_x": np.int64},
    }
    store("celeb_a", features, {"train": records[test:], "test": records[:test]})
    # alphabetical: Bald, Male, Young
    return pixels, truth[:, [1, 2, 0]].astype(np.uint8)


def refusal(name, **options):
    with pytest.raises(DatasetError) as caught:
        data.load(name, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_every_record_comes_out_as_stored(store_images, capfd):
    made = store_images("svhn_cropped", SIZES)
    capfd.readouterr()
    dataset = data.load("svhn", split="first", num_valid=8)
    assert isinstance(dataset, Dataset)
    assert capfd.readouterr().out == ""
    assert (dataset.name, dataset.num_classes) == ("svhn", 3)
    assert dataset.in_memory
    for split, (pixels, labels) in (
        ("valid", (part[:8] for part in made["train"])),
        ("train", (part[8:] for part in made["train"])),
        ("test", made["test"]),
    ):
        found = np.rint(getattr(dataset, f"x_{split}") * 255).astype(np.uint8)
        np.testing.assert_array_equal(found, pixels)
        np.testing.assert_array_equal(getattr(dataset, f"y_{split}"), labels)


def test_alias_resizes_and_the_user_may_ask_for_another_size(store_images):
    made = store_images("mnist", SIZES, shape=(28, 28, 1))
    dataset = data.load("mnist_conv", split="first")
    expected = images.resize(made["test"][0], (32, 32))
    np.testing.assert_array_equal(np.rint(dataset.x_test * 255), expected)
    assert data.load("mnist_conv", image_size=(8, 9)).input_shape == (8, 9, 1)
    assert data.load("mnist").input_shape == (28, 28, 1)


def test_set_without_test_split(store_images):
    store_images("own_set", {"train": 45})
    dataset = data.load("own_set")
    assert np.bincount(dataset.y_test).tolist() == [3, 3, 3]
    assert dataset.size("train") + dataset.size("valid") == 36


def test_validation_stands_in_for_a_test_split_that_is_not_there(store_images):
    store_images("own_set", {"train": 40, "validation": 6})
    assert data.load("own_set").size("test") == 6


def test_test_split_without_labels_is_passed_over(store):
    import tensorflow_datasets as tfds

    def records(size, label):
        pixels = np.arange(size, dtype=np.uint8)[:, None, None, None]
        whole = np.broadcast_to(pixels, (size, 4, 4, 1))
        return [{"image": x, "label": label(i)} for i, x in enumerate(whole)]

    features = {
        "image": tfds.features.Image(shape=(4, 4, 1)),
        "label": tfds.features.ClassLabel(num_classes=2),
    }
    splits = {
        "train": records(20, lambda i: i % 2),
        "validation": records(7, lambda i: i % 2),
        "test": records(9, lambda i: -1),
    }
    store("own_set", features, splits)
    assert data.load("own_set").size("test") == 7


def test_attributes_are_multi_label_in_alphabetical_order(store):
    pixels, truth = store_faces(store)
    dataset = data.load("celeb_a", split="first", num_valid=5)
    assert dataset.multi_label
    assert isinstance(dataset, Dataset)
    assert dataset.class_names == ("Bald", "Male", "Young")
    assert (dataset.num_classes, dataset.y_train.dtype) == (3, np.uint8)
    np.testing.assert_array_equal(dataset.y_test, truth[:10])
    np.testing.assert_array_equal(dataset.y_train, truth[15:])
    np.testing.assert_array_equal(np.rint(dataset.x_test * 255), pixels[:10])


def test_images_of_different_sizes(store):
    import tensorflow_datasets as tfds

    features = {
        "image": tfds.features.Image(shape=(None, None, 3)),
        "label": tfds.features.ClassLabel(names=["dark", "light"]),
    }
    shapes = [(4 + i % 3, 5 + i % 2, 3) for i in range(20)]
    records = [
        {"image": np.full(shape, 40 + 150 * (i % 2), np.uint8), "label": i % 2}
        for i, shape in enumerate(shapes)
    ]
    store("own_set", features, {"train": records})
    assert "differ in size; say which size" in refusal("own_set")
    assert "--image_size=224,224" in refusal("own_set", in_memory=False)
    dataset = data.load("own_set", image_size=(7, 7))
    assert dataset.class_names == ("dark", "light")
    shades = np.rint(dataset.x_train * 255)[:, 3, 3, 0]
    np.testing.assert_array_equal(shades, 40 + 150 * dataset.y_train)


def test_set_that_is_no_classification_of_images(store):
    store("own_set", {"a": np.int64, "b": np.float32}, {"train": [{"a": 1, "b": 2.0}]})
    message = refusal("own_set")
    assert "no image-classification set; its records hold a (" in message


def test_truncated_records(store_images, data_dir):
    store_images("own_set", SIZES)
    (file,) = (data_dir / "own_set" / "1.0.0").glob("*train*")
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    message = refusal("own_set")
    assert "is damaged (" in message
    assert "`tfds build own_set --overwrite`" in message


def test_records_cut_between_two(store_images, data_dir):
    """Cut where one record ends, which the file format alone does not notice."""
    store_images("own_set", SIZES)
    (file,) = (data_dir / "own_set" / "1.0.0").glob("*train*")
    whole = file.read_bytes()
    first = 16 + int.from_bytes(whole[:8], "little")
    file.write_bytes(whole[:first])
    assert "expected to contain 40 elements but contained only 1 element.);" in refusal(
        "own_set"
    )


@pytest.mark.parametrize("name", ["dataset_info.json", "features.json"])
@pytest.mark.parametrize("content", ["", '{"name": "own', "[1, 2]"])
def test_damaged_description(store_images, data_dir, name, content):
    store_images("own_set", SIZES)
    (data_dir / "own_set" / "1.0.0" / name).write_text(content)
    message = refusal("own_set")
    assert "cannot be opened" in message
    assert "`tfds build own_set --overwrite`" in message


def test_failed_preparation_is_one_line(data_dir, monkeypatch):
    import tensorflow_datasets as tfds

    from data import availability

    def fail(*_, **__):
        raise tfds.download.DownloadError("Failed to get url\nlong story")

    monkeypatch.setattr(availability, "probe", lambda url: None)
    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", fail)
    message = refusal("cifar100")
    assert "'cifar100': could not be prepared" in message
    assert "Failed to get url); run `tfds build cifar100`" in message


def test_text_sets_are_refused_before_they_are_fetched(data_dir, monkeypatch):
    import tensorflow_datasets as tfds

    from data import availability

    monkeypatch.setattr(availability, "probe", lambda url: None)
    monkeypatch.setattr(
        tfds.core.DatasetBuilder,
        "download_and_prepare",
        lambda *_, **__: pytest.fail("was fetched"),
    )
    assert "no image-classification set" in refusal("imdb_reviews")


def test_memory_limit_decides(store_images, monkeypatch):
    store_images("own_set", SIZES)
    floats = 4 * 52 * 6 * 5 * 3
    monkeypatch.setattr(images, "MEMORY_LIMIT", floats)
    assert data.load("own_set").in_memory
    monkeypatch.setattr(images, "MEMORY_LIMIT", floats - 1)
    assert not data.load("own_set").in_memory
    assert data.load("own_set", in_memory=True).in_memory
    assert data.load("own_set", image_size=(2, 2)).input_shape == (2, 2, 3)
