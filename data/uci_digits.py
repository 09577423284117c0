"""The 1 797 real 8x8 digits that scikit-learn carries: no download, no network.

Reference: E. Alpaydin, C. Kaynak (1998), Optical Recognition of Handwritten Digits, UCI
Machine Learning Repository (its test part).
"""

from __future__ import annotations

import numpy as np

from data.images import Delivered, resize

SIZE = (28, 28)


def read(image_size: tuple[int, int] | None = None) -> Delivered:
    """Reads the digits.

    Grey values 0..16 become the nearest of 0..255, then 8x8 pixels become 28x28,
    bilinearly; kept in uint8 so that every platform gets the same bytes.

    Args:
        image_size: (height, width), or None: 28x28.

    Returns:
        uint8 images [1797, *image_size, 1], no test split.
    """
    from sklearn.datasets import load_digits

    digits = load_digits()
    levels = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    images = resize(levels[..., np.newaxis], image_size or SIZE)
    labels = digits.target.astype(np.int64)
    return Delivered((images, labels), None, 10, tuple("0123456789"))
