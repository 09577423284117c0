"""CelebA with one class an image, on small made sets of its format."""

import numpy as np
import pytest

import data
from data import DatasetError, celeb_a

ATTRIBUTES = ("Young", "Bald", "Male", "Arched_Eyebrows", "Attractive")
SHARES = (0.8, 0.1, 0.35, 0.25, 0.5)


def store_faces(store, sizes, persons=None):
    """Writes faces; returns pixels, truth by attribute and persons, by split."""
    import tensorflow_datasets as tfds

    generator = np.random.default_rng(0)
    features = {
        "image": tfds.features.Image(shape=(6, 5, 3)),
        "attributes": {name: np.bool_ for name in ATTRIBUTES},
        "landmarks": {"nose_x": np.int64},
    }
    if persons is not None:
        features["identity"] = {"Identity_No": np.int64}
    made, splits = {}, {}
    for split, size in sizes.items():
        pixels = generator.integers(0, 256, (size, 6, 5, 3), dtype=np.uint8)
        ranks = np.stack([generator.permutation(size) for _ in SHARES], axis=1)
        truth = ranks < np.array(SHARES) * size
        made[split] = pixels, truth
        splits[split] = [
            {
                "image": image,
                "attributes": dict(zip(ATTRIBUTES, row, strict=True)),
                "landmarks": {"nose_x": 3},
            }
            for image, row in zip(pixels, truth.tolist(), strict=True)
        ]
        if persons is not None:
            for record, person in zip(splits[split], persons[split], strict=True):
                record["identity"] = {"Identity_No": int(person)}
    store("celeb_a", features, splits)
    return made


def test_the_balanced_attribute_is_itself_and_not_its_neighbour(store):
    made = store_faces(store, {"train": 40, "test": 20})
    dataset = data.load("celeb_a_balanced", split="first", num_valid=10)
    assert dataset.class_names == ("not Attractive", "Attractive")
    assert (dataset.num_classes, dataset.multi_label) == (2, False)
    column = ATTRIBUTES.index("Attractive")
    pixels, truth = made["train"]
    np.testing.assert_array_equal(dataset.y_train, truth[10:, column])
    np.testing.assert_array_equal(np.rint(dataset.x_train * 255), pixels[10:])
    np.testing.assert_array_equal(dataset.y_test, made["test"][1][:, column])
    streamed = data.load(
        "celeb_a_balanced", split="first", num_valid=10, in_memory=False
    )
    labels = np.concatenate([y for _, y in streamed.batches("train", 7)])
    np.testing.assert_array_equal(labels, truth[10:, column])


def test_most_balanced_is_closest_to_a_half():
    truth = np.array([[1, 0, 1, 0], [1, 0, 0, 0], [1, 1, 1, 0], [1, 0, 0, 0]])
    assert celeb_a.most_balanced(truth) == 2
    assert celeb_a.most_balanced(truth[:, [0, 1, 3]]) == 1


def test_persons_with_most_images_the_first_of_each_for_testing(store, monkeypatch):
    monkeypatch.setattr(celeb_a, "TEST_IMAGES", 2)
    persons = {
        "train": np.array([7, 3, 7, 9, 3, 7, 3, 5, 9, 7]),
        "test": np.array([3, 9, 7, 5, 9]),
    }
    made = store_faces(store, {"train": 10, "test": 5}, persons)
    from data.tfds_source import TfdsSource

    source = TfdsSource("celeb_a", "celeb_a", None)
    delivered = celeb_a.read_persons(source, number=3)
    assert delivered.class_names == ("7", "3", "9")
    pixels = np.concatenate([made[split][0] for split in ("train", "test")])
    everyone = np.concatenate(list(persons.values()))
    # 7 at 0 2 5 9 12, 3 at 1 4 6 10, 9 at 3 8 11 14; two of each are test images.
    test = [0, 1, 2, 3, 4, 8]
    train = [5, 6, 9, 10, 11, 12, 14]
    label = {7: 0, 3: 1, 9: 2}
    for (x, y), rows in ((delivered.test, test), (delivered.train, train)):
        np.testing.assert_array_equal(x, pixels[rows])
        np.testing.assert_array_equal(y, [label[p] for p in everyone[rows]])


def test_identities_load_by_their_name(store):
    persons = np.repeat([4, 8], 14)
    store_faces(store, {"train": 28}, {"train": persons})
    dataset = data.load("celeb_a_identities", num_valid=2, image_size=(4, 4))
    assert (dataset.size("train"), dataset.size("valid"), dataset.size("test")) == (
        8,
        2,
        18,
    )
    assert dataset.input_shape == (4, 4, 3)
    assert dataset.num_classes == 2


def test_what_cannot_be_had_is_told(store):
    store_faces(store, {"train": 20})
    with pytest.raises(DatasetError, match="name no persons.*tfds build celeb_a"):
        data.load("celeb_a_identities")


def test_persons_with_few_images_are_told(store):
    store_faces(
        store,
        {"train": 20},
        {"train": np.repeat([1, 2], 10)[:20] * 0 + np.arange(20) % 4},
    )
    with pytest.raises(DatasetError, match="at most 9 images"):
        data.load("celeb_a_identities")


def test_the_most_frequent_by_counting():
    persons = np.array([5, 5, 2, 2, 9, 9, 9, 1])
    assert celeb_a.most_frequent(persons, 3) == [9, 2, 5]
    marked = celeb_a.first_of_each(np.array([0, 1, 0, 0, 1]), 2)
    np.testing.assert_array_equal(marked, [True, True, True, False, True])
