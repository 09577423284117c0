from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

import data
from data import DatasetError

SIZES = {"ant": 5, "bee": 10}


def paint(path, shade, mode="L", size=(4, 3)):
    path.parent.mkdir(parents=True, exist_ok=True)
    colour = shade if mode in {"L", "I;16", "P", "1"} else (shade, 0, 255 - shade)
    Image.new("RGB" if mode == "RGBA" else mode, size, colour).convert(mode).save(path)


def fill(folder, mode="L", ending="png", sizes=SIZES, **options):
    shade = 0
    for name, count in sizes.items():
        for number in range(count):
            paint(folder / name / f"{number:02d}.{ending}", shade, mode, **options)
            shade += 10


def refusal(folder, **options):
    with pytest.raises(DatasetError) as caught:
        data.load(str(folder), **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_flat_folder_is_split(tmp_path):
    fill(tmp_path)
    (tmp_path / "ant" / "notes.txt").write_text("not an image")
    (tmp_path / ".hidden").mkdir()
    dataset = data.load(str(tmp_path))
    assert (dataset.name, dataset.class_names) == (tmp_path.name, ("ant", "bee"))
    assert dataset.input_shape == (3, 4, 1)
    assert np.bincount(dataset.y_test).tolist() == [1, 2]
    assert dataset.size("valid") == 2
    for split in ("train", "valid", "test"):
        shades = np.rint(getattr(dataset, f"x_{split}")[:, 0, 0, 0] * 255)
        labels = getattr(dataset, f"y_{split}")
        np.testing.assert_array_equal(shades >= 50, labels == 1)


@pytest.mark.parametrize("test", ["test", "val", "valid", "validation"])
def test_folder_with_splits(tmp_path, test):
    fill(tmp_path / "train")
    fill(tmp_path / test, sizes={"bee": 3})
    dataset = data.load(str(tmp_path), split="first", num_valid=4)
    assert dataset.size("train") == 11
    assert dataset.y_valid.tolist() == [0, 0, 0, 0]
    assert dataset.y_test.tolist() == [1, 1, 1]


def test_test_comes_before_val_and_train_may_stand_alone(tmp_path):
    fill(tmp_path / "train")
    assert data.load(str(tmp_path)).size("test") == 3
    fill(tmp_path / "val", sizes={"bee": 7})
    fill(tmp_path / "test", sizes={"bee": 4})
    assert data.load(str(tmp_path)).size("test") == 4


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_colour(tmp_path, mode):
    fill(tmp_path, mode)
    dataset = data.load(str(tmp_path))
    assert dataset.input_shape == (3, 4, 3)
    pixels = np.rint(dataset.x_train[:, 0, 0] * 255)
    np.testing.assert_array_equal(pixels[:, 0] + pixels[:, 2], 255)
    assert pixels[:, 1].max() == 0


def test_one_coloured_image_makes_all_coloured(tmp_path):
    fill(tmp_path)
    paint(tmp_path / "bee" / "99.png", 7, "RGB")
    dataset = data.load(str(tmp_path), split="first", num_valid=1)
    assert dataset.input_shape == (3, 4, 3)
    np.testing.assert_array_equal(dataset.x_valid[..., 0], dataset.x_valid[..., 2])


def test_images_of_different_sizes_need_one(tmp_path):
    fill(tmp_path, ending="jpg")
    paint(tmp_path / "bee" / "03.jpg", 1, size=(8, 8))
    message = refusal(tmp_path)
    assert "03.jpg" in message
    assert "[3, 4], this one [8, 8]" in message
    assert "--image_size=3,4" in message
    assert data.load(str(tmp_path), image_size=(5, 6)).input_shape == (5, 6, 1)


def test_unreadable_image_is_named(tmp_path):
    fill(tmp_path)
    file = tmp_path / "bee" / "04.png"
    file.write_bytes(file.read_bytes()[:40])
    message = refusal(tmp_path)
    assert "04.png: not a readable image" in message


def test_sixteen_bits_are_refused(tmp_path):
    fill(tmp_path)
    paint(tmp_path / "bee" / "04.png", 1, "I;16")
    assert "04.png: pixels of mode I;16, expected 8 bits" in refusal(tmp_path)


def test_class_without_images(tmp_path):
    fill(tmp_path)
    (tmp_path / "cat").mkdir()
    assert "cat: holds no image" in refusal(tmp_path)


def test_test_class_that_training_does_not_have(tmp_path):
    fill(tmp_path / "train")
    fill(tmp_path / "test", sizes={"cow": 2})
    assert "has the class 'cow'" in refusal(tmp_path)


def test_empty_test_folder(tmp_path):
    fill(tmp_path / "train")
    (tmp_path / "test").mkdir()
    assert "test: holds no image" in refusal(tmp_path)


@pytest.mark.parametrize("sizes", [{}, {"ant": 5}])
def test_folder_of_something_else(tmp_path, sizes):
    fill(tmp_path, sizes=sizes)
    message = refusal(tmp_path)
    assert f"found {len(sizes)} sub-folder(s)" in message
    assert "expected idx files, or one sub-folder of images" in message
