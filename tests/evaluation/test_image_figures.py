"""Figures of images: what is in them, and that they are written."""

import numpy as np
import pytest
from PIL import Image

from network_pruning.evaluation import image_figures as module


@pytest.fixture
def images():
    return np.random.default_rng(0).random((12, 4, 5, 1)).astype(np.float32)


def test_images_are_laid_in_rows(images, tmp_path):
    picture = module.tiled(images[:5], columns=3)
    times = -(-module.SIDE // 5)
    small = picture[::times, ::times]
    assert small.shape == (2 * 4 + module.GAP, 3 * 5 + 2 * module.GAP, 3)
    shown = small[4 + module.GAP :, 5 + module.GAP : 10 + module.GAP, 0]
    np.testing.assert_array_equal(shown, np.rint(images[4, :, :, 0] * 255))
    module.image_grid(images[:5], 3, tmp_path / "grid.png")
    with Image.open(tmp_path / "grid.png") as drawn:
        np.testing.assert_array_equal(np.asarray(drawn), picture)
    colours = module.tiled(np.tile([0.0, 1.0, 2.0], (1, 60, 60, 1)), 1)
    np.testing.assert_array_equal(colours[0, 0], [0, 255, 255])


def test_the_first_of_each_class(images):
    labels = np.array([1, 0, 1, 2, 0, 1, 0, 0, 1, 1, 1, 1])
    found = module.by_class(images, labels, 2)
    np.testing.assert_array_equal(found, images[[1, 4, 0, 2, 3, 3]])


def test_means_and_draws(images):
    labels = np.arange(12) % 3
    found = module.mean_and_random(images, labels, seed=1)
    assert found.shape == (6, 4, 5, 1)
    np.testing.assert_allclose(found[1], images[labels == 1].mean(axis=0))
    assert any(np.array_equal(found[5], x) for x in images[labels == 2])
    np.testing.assert_array_equal(found, module.mean_and_random(images, labels, 1))


def test_curves_and_histograms_are_written(images, tmp_path):
    generator = np.random.default_rng(2)
    logits = {name: generator.normal(size=(12, 3)) for name in ("teacher", "student")}
    labels = np.arange(12) % 2  # no image of the third class
    drawings = {
        "pixels": (module.pixel_histograms, {"made": images, "real": images**2}),
        "distances": (module.distances, {"made": np.arange(5.0), "test": np.ones(4)}),
        "loss": (module.loss_traces, [np.arange(9, 0, -1.0), np.ones(4)]),
    }
    for name, (draw, values) in drawings.items():
        draw(values, tmp_path / f"{name}.png")
    module.logit_curves(logits, labels, ["a", "b", "c"], tmp_path / "logits.png")
    for name in (*drawings, "logits"):
        with Image.open(tmp_path / f"{name}.png") as drawn:
            assert np.asarray(drawn.convert("L")).std() > 5
