from __future__ import annotations

import numpy as np
import pytest

import data
from data import DatasetError


def arrays(**changes):
    generator = np.random.default_rng(0)
    made = {
        "x_train": generator.integers(0, 256, (30, 4, 4), dtype=np.uint8),
        "y_train": np.arange(30) % 3,
        "x_test": generator.integers(0, 256, (9, 4, 4), dtype=np.uint8),
        "y_test": np.arange(9) % 3,
    }
    made.update(changes)
    return {key: value for key, value in made.items() if value is not None}


@pytest.fixture
def write(tmp_path):
    def to(**changes):
        path = tmp_path / "set.npz"
        np.savez_compressed(path, **arrays(**changes))
        return path

    return to


def test_reads_bytes(write):
    dataset = data.load(str(write()), split="first", num_valid=10)
    made = arrays()
    assert (dataset.name, dataset.num_classes) == ("set", 3)
    np.testing.assert_array_equal(
        dataset.x_train[..., 0] * 255, made["x_train"][10:].astype(np.float32)
    )
    np.testing.assert_array_equal(dataset.y_train, made["y_train"][10:])
    assert dataset.size("test") == 9


def test_reads_floats_and_columns_of_labels(write):
    floats = np.random.default_rng(0).random((30, 4, 4, 3))
    path = write(
        x_train=floats, y_train=(np.arange(30) % 3)[:, None], x_test=None, y_test=None
    )
    dataset = data.load(str(path), image_size=(6, 6))
    assert dataset.input_shape == (6, 6, 3)
    sizes = [dataset.size(split) for split in ("train", "valid", "test")]
    assert sizes == [20, 4, 6]


def refusal(path):
    with pytest.raises(DatasetError) as caught:
        data.load(str(path))
    message = str(caught.value)
    assert "\n" not in message
    assert "labels" in message or "set.npz" in message
    return message


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"y_train": None}, "got the arrays x_test, x_train, y_test, expected x_train"),
        ({"y_test": None}, "both x_test and y_test"),
        ({"y_train": np.arange(29)}, "y_train: got shape [29], expected [30]"),
        ({"y_train": np.array(["a"] * 30)}, "y_train: got dtype <U1"),
        ({"y_train": np.arange(30) % 3 + 1}, "got 1, 2, 3 (3 distinct)"),
        ({"y_test": np.full(9, 7)}, "test labels: got 7, expected 0..2"),
        ({"x_train": np.zeros((30, 16))}, "x_train: got shape [30, 16]"),
        ({"x_train": np.full((30, 4, 4), 255.0)}, "got values from 255 to 255"),
        ({"x_test": np.zeros((9, 5, 5), np.uint8)}, "[5, 5, 1], expected [4, 4, 1]"),
        ({"x_test": np.zeros((9, 4, 4))}, "x_test is float32, expected uint8"),
        ({"y_train": np.array([{}] * 30)}, "holds pickled objects"),
    ],
)
def test_refuses(write, changes, words):
    assert words in refusal(write(**changes))


@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.9, 0.999])
def test_truncated(write, share):
    path = write()
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    assert "damaged or truncated" in refusal(path)


def test_damaged_inside(write):
    path = write()
    content = bytearray(path.read_bytes())
    content[200:260] = bytes(60)
    path.write_bytes(content)
    assert "damaged or truncated" in refusal(path)


@pytest.mark.parametrize("content", [b"no archive at all", b"\x80\x04]."])
def test_another_kind_of_file(tmp_path, content):
    path = tmp_path / "set.npz"
    path.write_bytes(content)
    assert "no .npz file" in refusal(path)


def test_single_array_under_a_wrong_name(tmp_path):
    path = tmp_path / "set.npz"
    with path.open("wb") as file:
        np.save(file, np.zeros(3))
    assert "no .npz file" in refusal(path)
