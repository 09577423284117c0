"""Images with a square of pixels missing: one square an image, drawn once and kept."""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt

from network_pruning.runs import RunDir

Corners = npt.NDArray[np.int64]


def draw_corners(
    count: int, side: tuple[int, int], size: int, stream: str, seed: int
) -> Corners:
    """Draws the upper left corner of each square.

    Args:
        count: Images.
        side: Height and width of an image.
        size: Of the square, in pixels.
        stream: Name of the set: teacher, student, valid, test ...; the same picture has
            another square in each.
        seed: Of all sets.

    Returns:
        Row and column [count, 2], uniform over all places, the last ones included.

    Raises:
        ValueError: If the square is larger than the image.
    """
    check_size(size, side)
    named = int(hashlib.sha256(stream.encode()).hexdigest()[:8], 16)
    generator = np.random.default_rng([seed, named])
    return generator.integers(0, np.array(side) - size, (count, 2), endpoint=True)


def occlude(
    images: npt.NDArray[np.float32], corners: Corners, size: int
) -> npt.NDArray[np.float32]:
    """Sets a square of each image to 0.

    Args:
        images: [n, h, w, c]; left as they are.
        corners: Row and column of each square [n, 2].
        size: Of the squares.

    Returns:
        The images, size * size pixels of each at 0.
    """
    height, width = images.shape[1:3]
    rows = np.arange(height) - corners[:, :1]
    columns = np.arange(width) - corners[:, 1:]
    inside_rows = (rows >= 0) & (rows < size)
    inside_columns = (columns >= 0) & (columns < size)
    hidden = inside_rows[:, :, None] & inside_columns[:, None, :]
    return np.where(hidden[..., None], np.float32(0), images)


def kept_corners(
    run: RunDir, name: str, corners: Corners, persist: bool = True
) -> Corners:
    """Returns the squares a file holds, and writes it where there is none.

    Args:
        run: Folder of the file.
        name: Of the npz.
        corners: As they are drawn.
        persist: Whether to read and write at all.

    Returns:
        Those of the file, so that every experiment sees the same samples.

    Raises:
        ValueError: If the file holds squares of other images.
    """
    if not persist:
        return corners
    if not run.exists(name):
        run.write_arrays(name, {"corners": corners})
    kept = run.read_arrays(name).get("corners")
    if kept is None or kept.shape != corners.shape:
        shape = None if kept is None else kept.shape
        raise ValueError(
            f"{run.path / name} holds squares {shape}, expected {corners.shape}: "
            "delete it, or give another --output_dir"
        )
    return kept


def check_size(size: int, side: tuple[int, int]) -> None:
    """Judges the size of squares.

    Raises:
        ValueError: If they do not fit into an image.
    """
    if not 0 <= size <= min(side):
        raise ValueError(
            f"mask_size: got {size}, expected 0 to {min(side)}, the image's own"
        )
