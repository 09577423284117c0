"""What the networks are put together from: layers with the settings they share.

Also the checks of their options, each an error of one line.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import tf_keras as keras

Moments = tuple[Sequence[float], Sequence[float]]
"""(mean, standard deviation) of pixels in [0, 1], by channel."""

TRUNCATED_SD = 0.87962566103423978
"""Standard deviation of a standard normal cut off at two."""
Init = Literal["he", "original"]
"""How weights start: soundly, or as a paper has it."""

CIFAR: Moments = ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
IMAGENET: Moments = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def images(input_shape: tuple[int, ...], smallest: int = 1) -> Any:
    """Begins a convolutional network.

    Args:
        input_shape: Of one image.
        smallest: Height and width the network needs at least.

    Returns:
        The symbolic images.

    Raises:
        ValueError: If an image has no height, width and channels, or is too small.
    """
    if len(input_shape) != 3:
        raise ValueError(
            f"input_shape: got {input_shape}, expected (height, width, channels): "
            "give grey images a last axis of length 1"
        )
    sides = [side for side in input_shape[:2] if side is not None]
    if sides and min(sides) < smallest:
        raise ValueError(
            f"input_shape: got {input_shape}, expected at least {smallest}x{smallest} "
            "pixels: resize the images, or choose another network"
        )
    return keras.Input(input_shape, name="images")


def normalised(
    x: Any, normalise: Moments | Literal["auto"] | None, usual: Moments
) -> Any:
    """Subtracts the mean and divides by the standard deviation, inside the model.

    Args:
        x: Symbolic images.
        normalise: (mean, sd) by channel; None leaves pixels as they are; "auto" takes
            the usual ones for images of as many channels, and None otherwise.
        usual: Of the dataset the network was made for.

    Returns:
        The normalised images.

    Raises:
        ValueError: If there is not one positive sd and one mean to a channel.
    """
    channels = x.shape[-1]
    if normalise == "auto":
        normalise = usual if len(usual[0]) == channels else None
    if normalise is None:
        return x
    mean, deviation = (list(map(float, values)) for values in normalise)
    if not len(mean) == len(deviation) == channels or min(deviation) <= 0:
        raise ValueError(
            f"normalise: got {normalise}, expected ({channels} means, {channels} "
            "positive standard deviations), or None"
        )
    variance = [sd**2 for sd in deviation]
    return keras.layers.Normalization(mean=mean, variance=variance, name="normalise")(x)


def centred(x: Any, mean: npt.ArrayLike | None) -> Any:
    """Subtracts an image from every image, inside the model.

    Args:
        x: Symbolic images [n, height, width, channels].
        mean: [height, width, channels]; None leaves pixels as they are.

    Returns:
        The centred images.

    Raises:
        ValueError: If it is an image of another shape.
    """
    if mean is None:
        return x
    values = np.asarray(mean, np.float32)
    if values.shape != tuple(x.shape[1:]):
        raise ValueError(
            f"mean: got an image of shape {list(values.shape)}, expected "
            f"{list(x.shape[1:])}"
        )
    return keras.layers.Normalization(
        axis=(1, 2, 3), mean=values, variance=np.ones_like(values), name="centre"
    )(x)


def batch_norm(name: str, momentum: float = 0.9) -> keras.layers.Layer:
    """Returns batch normalisation with the settings of the published networks."""
    return keras.layers.BatchNormalization(momentum=momentum, epsilon=1e-5, name=name)


def norm_relu(x: Any, name: str, number: int | str = "") -> Any:
    """Normalises, then cuts off below zero.

    Args:
        x: Symbolic [..., channels].
        name: What the layers' names begin with: <name>_norm and <name>_relu.
        number: What they end with.

    Returns:
        Symbolic, of the same shape.
    """
    x = batch_norm(f"{name}_norm{number}")(x)
    return keras.layers.ReLU(name=f"{name}_relu{number}")(x)


def conv(
    x: Any, filters: int, size: int, name: str, strides: int = 1, **options: Any
) -> Any:
    """Convolves, padded by (size - 1) / 2 on all four sides.

    Keras' own "same" pads a strided convolution on the right and below alone, which
    shifts it by a pixel against its shortcut and against the published networks.

    Args:
        x: Symbolic [n, height, width, channels].
        filters: Channels it makes.
        size: Of the kernel, odd.
        name: Of the layer.
        strides: In both directions.
        **options: Of Conv2D.

    Returns:
        Symbolic [n, ceil(height / strides), ceil(width / strides), filters].
    """
    padding = "same"
    if strides > 1 and size > 1:
        x = keras.layers.ZeroPadding2D(size // 2, name=f"{name}_pad")(x)
        padding = "valid"
    return keras.layers.Conv2D(
        filters, size, strides=strides, padding=padding, name=name, **options
    )(x)


def variance_scaling(mode: str, distribution: str) -> dict[str, Any]:
    """Describes an initialiser of variance 2 / fan.

    Each layer makes its own of it: one instance in several layers would give all of
    them the same values.

    Args:
        mode: Which fan: fan_in, fan_out or fan_avg.
        distribution: uniform or untruncated_normal.

    Returns:
        What `kernel_initializer` takes.
    """
    config = {"scale": 2.0, "mode": mode, "distribution": distribution}
    return {"class_name": "VarianceScaling", "config": config}


def initial(init: Init, sd: float | None = None, bias: float = 0.0) -> dict[str, Any]:
    """Says how a layer's weights start.

    Args:
        init: he: He-normal kernels, biases of zero; original: what follows.
        sd: Standard deviation of a truncated normal; None: sqrt(2 / fan in), before
            truncation, which makes it 12 % smaller than He's.
        bias: Of every unit.

    Returns:
        Options of a layer.

    Raises:
        ValueError: If the word is neither.
    """
    check_choice("init", init, ("he", "original"))
    if init == "he":
        return {"kernel_initializer": "he_normal"}
    if sd is not None:
        config: dict[str, Any] = {"stddev": sd}
        kernel = {"class_name": "TruncatedNormal", "config": config}
    else:
        config = {"scale": 2.0 * TRUNCATED_SD**2, "distribution": "truncated_normal"}
        kernel = {"class_name": "VarianceScaling", "config": config}
    start = {"class_name": "Constant", "config": {"value": bias}}
    return {"kernel_initializer": kernel, "bias_initializer": start}


def penalty(l1: float, l2: float) -> keras.regularizers.Regularizer | None:
    """Returns l1 * sum |w| + l2 * sum w^2, or None if both are zero."""
    return keras.regularizers.L1L2(l1, l2) if l1 or l2 else None


def scaled(widths: Sequence[int], width: float, what: str = "width") -> list[int]:
    """Returns widths times a factor, called `what`, rounded half up, at least 1.

    Raises:
        ValueError: If the factor is not positive.
    """
    if width <= 0:
        raise ValueError(
            f"{what}: got {width}, expected a positive factor on the widths"
        )
    return [max(1, int(w * width + 0.5)) for w in widths]


def check_widths(what: str, widths: Sequence[int], lengths: Sequence[int]) -> None:
    """Judges a list of widths.

    Raises:
        ValueError: If it has another length, or an entry is no positive whole number.
    """
    whole = all(isinstance(w, int) and w > 0 for w in widths)
    if len(widths) not in lengths or not whole:
        raise ValueError(
            f"{what}: got {tuple(widths)}, expected "
            f"{' or '.join(map(str, lengths))} positive whole numbers"
        )


def by_block(
    inner: Sequence[int] | None, widths: Sequence[int], blocks: Sequence[int]
) -> list[list[int]]:
    """Spreads the widths inside residual blocks over the stages.

    Args:
        inner: One number to a stage, or one to a block; None takes `widths`.
        widths: One to a stage.
        blocks: Number of blocks of each stage.

    Returns:
        For each stage, the inner width of each of its blocks.

    Raises:
        ValueError: If there are too few or too many numbers.
    """
    chosen = list(widths if inner is None else inner)
    check_widths("inner", chosen, (len(blocks), sum(blocks)))
    if len(chosen) == len(blocks):
        return [[w] * n for w, n in zip(chosen, blocks, strict=True)]
    numbers = iter(chosen)
    return [[next(numbers) for _ in range(n)] for n in blocks]


def check_choice(what: str, got: str, choices: Sequence[str]) -> None:
    """Judges a word.

    Raises:
        ValueError: If it is none of the choices.
    """
    if got not in choices:
        raise ValueError(f"{what}: got {got!r}, expected one of {', '.join(choices)}")


def floored(widths: Sequence[int], factor: float) -> list[int]:
    """Returns widths times a factor, rounded down but for float dust.

    Raises:
        ValueError: If one of them would be nothing.
    """
    found = [int(w * factor + 1e-9) for w in widths]
    if not min(found) >= 1:
        raise ValueError(
            f"multiplication factor: got {factor}, expected one that leaves at least "
            f"one of {min(widths)} units"
        )
    return found


Head = Literal["softmax", "entropy", "both", "variance", "dirichlet"]


def outputs_of(head: Head, classes: int) -> int:
    """Returns how many linear outputs a student of a posterior has.

    Args:
        head: softmax: logits; entropy: the logarithm of one positive number; both:
            logits and behind them that; variance: logarithms of one number a class;
            dirichlet: logarithms of concentrations.
        classes: Number of classes.

    Raises:
        ValueError: If the head is unknown.
    """
    counts = {"entropy": 1, "both": classes + 1}
    check_choice("head", head, get_args(Head))
    return counts.get(head, classes)


def uniform_by_fan_in(fan_in: int) -> dict[str, Any]:
    """Returns how a layer starts in PyTorch: all uniform within 1 / sqrt(fan in)."""
    limit = fan_in**-0.5
    return {
        name: keras.initializers.RandomUniform(-limit, limit)
        for name in ("kernel_initializer", "bias_initializer")
    }
