from __future__ import annotations

import gzip
import struct

import numpy as np
import pytest

import data
from data import DatasetError, idx_source


def encode(array):
    return (
        bytes([0, 0, 8, array.ndim])
        + struct.pack(f">{array.ndim}I", *array.shape)
        + array.astype(np.uint8).tobytes()
    )


def write(path, array):
    content = encode(array)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def images_and_labels(size, seed=0):
    images = np.random.default_rng(seed).integers(0, 256, (size, 3, 4), dtype=np.uint8)
    return images, np.arange(size) % 3


def fill(folder, names=("train", "t10k"), ending="", joint="-"):
    for seed, name in enumerate(names):
        images, labels = images_and_labels(30 + seed, seed)
        write(folder / f"{name}-images{joint}idx3-ubyte{ending}", images)
        write(folder / f"{name}-labels{joint}idx1-ubyte{ending}", labels)


@pytest.mark.parametrize("ending", ["", ".gz"])
@pytest.mark.parametrize("joint", ["-", "."])
def test_both_pairs(tmp_path, ending, joint):
    fill(tmp_path, ending=ending, joint=joint)
    out = idx_source.read(tmp_path)
    assert out.num_classes == 3
    for part, (images, labels) in (
        (out.train, images_and_labels(30, 0)),
        (out.test, images_and_labels(31, 1)),
    ):
        np.testing.assert_array_equal(part[0], images[..., np.newaxis])
        np.testing.assert_array_equal(part[1], labels)


@pytest.mark.parametrize("name", ["train", "t10k"])
def test_one_pair_is_the_whole_set_and_is_split(tmp_path, name):
    fill(tmp_path, names=(name,))
    assert idx_source.read(tmp_path).test is None
    dataset = data.load(str(tmp_path))
    assert [dataset.size(s) for s in ("train", "valid", "test")] == [20, 4, 6]
    assert np.bincount(dataset.y_test).tolist() == [2, 2, 2]


def test_resized(tmp_path):
    fill(tmp_path)
    dataset = data.load(str(tmp_path), image_size=(8, 6))
    assert dataset.input_shape == (8, 6, 1)
    assert dataset.x_test.shape == (31, 8, 6, 1)


def test_folder_is_recognised(tmp_path):
    assert not idx_source.holds_idx(tmp_path)
    fill(tmp_path, names=("t10k",), ending=".gz")
    assert idx_source.holds_idx(tmp_path)


def one_line(folder):
    with pytest.raises(DatasetError) as caught:
        data.load(str(folder))
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_truncated_file_is_named_with_both_counts(tmp_path, ending):
    fill(tmp_path, ending=ending)
    file = tmp_path / f"train-images-idx3-ubyte{ending}"
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) * 2 // 3])
    message = one_line(tmp_path)
    assert file.name in message
    assert f"expected {16 + 30 * 12} bytes, found" in message
    found = int(message.split("found ")[1].split(";")[0])
    assert 0 < found < 16 + 30 * 12


def test_too_long_a_file(tmp_path):
    fill(tmp_path)
    file = tmp_path / "train-labels-idx1-ubyte"
    file.write_bytes(file.read_bytes() + b"?")
    assert "expected 38 bytes, found 39" in one_line(tmp_path)


def test_header_that_promises_the_sky(tmp_path):
    fill(tmp_path)
    huge = bytes([0, 0, 8, 3]) + struct.pack(">3I", 2**31, 2**31, 2**31)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(huge)
    assert f"expected {16 + 2**93} bytes, found 16" in one_line(tmp_path)


def test_shorter_than_a_header(tmp_path):
    fill(tmp_path)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(b"\0\0\x08\x03")
    assert "expected a header of 16 bytes, found 4 bytes" in one_line(tmp_path)


def test_another_kind_of_file(tmp_path):
    fill(tmp_path)
    write(tmp_path / "train-images-idx3-ubyte", np.zeros((2, 3, 4, 5)))
    message = one_line(tmp_path)
    assert "begins with the bytes [0, 0, 8, 4], expected [0, 0, 8, 3]" in message


def test_gzip_in_name_only(tmp_path):
    fill(tmp_path, ending=".gz")
    (tmp_path / "t10k-images-idx3-ubyte.gz").write_bytes(b"no gzip at all")
    message = one_line(tmp_path)
    assert "t10k-images-idx3-ubyte.gz: 14 bytes that are no gzip" in message


def test_flipped_bits_in_gzip(tmp_path):
    fill(tmp_path, ending=".gz")
    file = tmp_path / "train-images-idx3-ubyte.gz"
    content = bytearray(file.read_bytes())
    content[-6] ^= 255  # in the checksum
    file.write_bytes(content)
    assert "a damaged one" in one_line(tmp_path)


def test_missing_labels(tmp_path):
    fill(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    assert "t10k-labels-idx1-ubyte[.gz] is missing" in one_line(tmp_path)


def test_labels_of_another_number(tmp_path):
    fill(tmp_path)
    write(tmp_path / "train-labels-idx1-ubyte", np.arange(29) % 3)
    assert "got shape [29], expected [30]" in one_line(tmp_path)


def test_test_images_of_another_shape(tmp_path):
    fill(tmp_path)
    write(tmp_path / "t10k-images-idx3-ubyte", np.zeros((31, 4, 4)))
    assert "test images are [4, 4, 1], expected [3, 4, 1]" in one_line(tmp_path)
