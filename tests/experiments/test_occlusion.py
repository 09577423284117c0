"""Squares of missing pixels: area, corners, and that they are kept."""

import numpy as np
import pytest

from experiments.gpeds import occlusion
from network_pruning.runs import RunDir


@pytest.mark.parametrize("size", [0, 1, 3, 6])
def test_the_area_is_exactly_the_square(size):
    images = np.random.default_rng(0).random((50, 6, 8, 2), np.float32) + 0.1
    corners = occlusion.draw_corners(50, (6, 8), size, "teacher", 0)
    hidden = occlusion.occlude(images, corners, size)
    for image, whole, (row, column) in zip(hidden, images, corners, strict=True):
        expected = whole.copy()
        expected[row : row + size, column : column + size] = 0
        np.testing.assert_array_equal(image, expected)
        assert np.count_nonzero(image[..., 0] == 0) == size * size
    assert images.min() > 0, "the given images stay as they are"


def test_corners_are_uniform_and_reach_the_extremes():
    corners = occlusion.draw_corners(20_000, (10, 12), 7, "test", 1)
    for axis, places in enumerate((4, 6)):
        counts = np.bincount(corners[:, axis], minlength=places)
        assert len(counts) == places
        spread = 4 * np.sqrt(20_000 / places)
        np.testing.assert_allclose(counts, 20_000 / places, atol=spread)


def test_streams_and_seeds_are_apart_and_longer_sets_begin_alike():
    def draw(stream, seed, count=100):
        return occlusion.draw_corners(count, (28, 28), 15, stream, seed)

    drawn = {stream: draw(stream, 0) for stream in ("teacher", "student", "test")}
    assert (drawn["teacher"] != drawn["student"]).any()
    assert (drawn["test"] != draw("test", 1)).any()
    np.testing.assert_array_equal(drawn["test"], draw("test", 0))
    np.testing.assert_array_equal(draw("test", 0, 200)[:100], drawn["test"])


def test_squares_are_kept(tmp_path):
    run = RunDir(tmp_path)
    first = occlusion.draw_corners(9, (5, 5), 2, "test", 0)
    other = occlusion.draw_corners(9, (5, 5), 2, "test", 1)
    np.testing.assert_array_equal(
        occlusion.kept_corners(run, "a.npz", other, persist=False), other
    )
    assert not run.exists("a.npz")
    np.testing.assert_array_equal(occlusion.kept_corners(run, "a.npz", first), first)
    np.testing.assert_array_equal(occlusion.kept_corners(run, "a.npz", other), first)
    with pytest.raises(ValueError, match=r"holds squares \(9, 2\), expected \(8, 2\)"):
        occlusion.kept_corners(run, "a.npz", first[:8])


def test_a_square_larger_than_the_image_is_refused():
    with pytest.raises(ValueError, match="mask_size: got 29, expected 0 to 28"):
        occlusion.draw_corners(1, (28, 28), 29, "test", 0)
