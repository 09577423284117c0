"""Networks of tf_keras.applications, at random or at their ImageNet weights.

What they do to pixels before their first layer stands inside the model, so that it
takes pixels in [0, 1] like every other.
"""

from __future__ import annotations

from typing import Any

import tf_keras as keras

from models.parts import IMAGENET, images, normalised

layers = keras.layers

IMAGENET_CLASSES = 1000
CAFFE_MEAN = (123.68, 116.779, 103.939)
"""Red, green, blue, of 255."""
MODES = {
    **dict.fromkeys(("VGG16", "VGG19", "ResNet50", "ResNet101"), "caffe"),
    **dict.fromkeys(("ResNet50V2", "MobileNet", "MobileNetV2", "InceptionV3"), "tf"),
    **dict.fromkeys(("Xception", "NASNetMobile"), "tf"),
    **dict.fromkeys(("DenseNet121", "DenseNet169"), "torch"),
    **dict.fromkeys(("EfficientNetB0", "MobileNetV3Small", "RegNetX002"), "bytes"),
}
"""Application -> the pixels it was trained on, as its preprocess_input names them."""


def build(
    input_shape: tuple[int, ...],
    num_classes: int,
    *,
    application: str,
    pretrained: bool = False,
) -> keras.Model:
    """Builds an application that ends in logits.

    Args:
        input_shape: Of one image; RGB, for pretrained weights.
        num_classes: Number of logits. With pretrained weights and not ImageNet's 1000,
            the last layer is a new one.
        application: Name, of `MODES`.
        pretrained: Whether to take the ImageNet weights, downloaded where they are not
            in ~/.keras.

    Returns:
        Pixels in [0, 1] -> logits. The application is a nested model.

    Raises:
        ValueError: If the weights cannot be had, or the images do not fit.
    """
    inputs = images(input_shape)
    mode = MODES[application]
    core = _core(application, input_shape, num_classes, pretrained)
    if mode == "caffe":
        _take_rgb(core)
    x = core(_preprocessed(inputs, mode))
    if pretrained and num_classes != IMAGENET_CLASSES:
        x = layers.Dense(num_classes, name="logits")(x)
    return keras.Model(inputs, x, name=application.lower())


def _core(
    application: str, input_shape: tuple[int, ...], num_classes: int, pretrained: bool
) -> keras.Model:
    make = getattr(keras.applications, application)
    fresh_end = pretrained and num_classes != IMAGENET_CLASSES
    options: dict[str, Any] = {"input_shape": input_shape}
    if fresh_end:
        options |= {"include_top": False, "pooling": "avg"}
    else:
        options |= {"classes": num_classes, "classifier_activation": None}
    try:
        return make(weights="imagenet" if pretrained else None, **options)
    except ValueError as error:
        raise ValueError(f"model {application}: {error}") from None
    except Exception as error:
        # Keras raises a bare Exception where a download fails.
        if "URL fetch failure" not in str(error):
            raise
        raise ValueError(
            f"pretrained: the ImageNet weights of {application} are not in ~/.keras/"
            "models and cannot be downloaded: put them there, or train from the start"
        ) from None


def _preprocessed(x: Any, mode: str) -> Any:
    if mode == "tf":
        return layers.Rescaling(2.0, offset=-1.0, name="scale")(x)
    if mode == "torch":
        return normalised(x, "auto", IMAGENET)
    x = layers.Rescaling(255.0, name="scale")(x)
    if mode == "bytes" or x.shape[-1] != len(CAFFE_MEAN):
        return x
    ones = [1.0] * len(CAFFE_MEAN)
    return layers.Normalization(mean=CAFFE_MEAN, variance=ones, name="centre")(x)


def _take_rgb(core: keras.Model) -> None:
    """Turns the first kernel from blue, green, red to red, green, blue."""
    first = next(la for la in core.layers if isinstance(la, layers.Conv2D))
    if first.kernel.shape[2] == len(CAFFE_MEAN):
        first.kernel.assign(first.kernel.numpy()[:, :, ::-1])
