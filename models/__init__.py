"""Networks by name: `build("mlp", input_shape, num_classes, **options)`.

A name may also be the path of a trained model's file. Every network of a name is a
functional tf_keras model that takes pixels in [0, 1] and ends in logits. To add one: a
file with one builder, and a line in `MODELS`.
"""

from __future__ import annotations

import ast
import difflib
import importlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models import files

if TYPE_CHECKING:
    import tf_keras as keras


@dataclass(frozen=True)
class Recipe:
    """How a network is made.

    Attributes:
        file: In this folder, whose `build` makes it (imported when asked for).
        settled: Options of `build` that the name settles.
    """

    file: str
    settled: Mapping[str, Any] = field(default_factory=dict)


MODELS = {
    "mlp": Recipe("mlp"),
    "lenet5": Recipe("lenet5"),
    "lenet": Recipe("lenet", {"filters": (6, 16)}),
    "lenet_half": Recipe("lenet", {"filters": (3, 8)}),
    "hinton1200": Recipe(
        "hinton", {"widths": (1200, 1200), "dropout": (0.2, 0.5, 0.5)}
    ),
    "hinton800": Recipe("hinton", {"widths": (800, 800), "dropout": ()}),
    "gped_fc": Recipe("gped_fc"),
    "gped_cnn_mnist": Recipe("gped_cnn", {"dataset": "mnist"}),
    "gped_cnn_cifar": Recipe("gped_cnn", {"dataset": "cifar"}),
    "alex": Recipe("alex", {"width": 1.0}),
    "alex_half": Recipe("alex", {"width": 0.5}),
    "vgg16": Recipe("vgg", {"depth": 16}),
    "vgg19": Recipe("vgg", {"depth": 19}),
    "vgg16_cifar": Recipe("vgg16_cifar"),
    "quick": Recipe("quick", {"filters": (32, 32, 64)}),
    "quick_student": Recipe("quick", {"filters": (32, 16, 32)}),
    "resnet20": Recipe("resnet_cifar", {"depth": 20}),
    "resnet56": Recipe("resnet_cifar", {"depth": 56}),
    "wrn_28_10": Recipe("wide_resnet"),
    "resnet50": Recipe("resnet50"),
    **{
        name: Recipe("applications", {"application": name})
        for name in (
            *("DenseNet121", "DenseNet169", "EfficientNetB0", "InceptionV3"),
            *("MobileNet", "MobileNetV2", "MobileNetV3Small", "NASNetMobile"),
            *("RegNetX002", "ResNet101", "ResNet50", "ResNet50V2", "VGG16", "VGG19"),
            "Xception",
        )
    },
}
"""Model name -> how it is made."""


def names() -> list[str]:
    """Returns the names `build` knows."""
    return sorted(MODELS)


def check(name: str) -> None:
    """Judges a model name, or the file it names, without loading TensorFlow.

    Raises:
        ValueError: If the name is unknown, or the file is no model.
    """
    if files.is_path(name):
        files.check(name)
    elif name not in MODELS:
        raise ValueError(
            f"model: got {name!r}, expected one of {', '.join(names())}."
            f"{_hint(name, MODELS)}"
        )


def options(name: str) -> tuple[str, ...]:
    """Returns the options a network takes, without loading TensorFlow.

    Args:
        name: One of `names()`, or a file's path: a file takes none.

    Returns:
        Names of options, in the order of its `build`; those the name settles left out.

    Raises:
        ValueError: If the name is unknown.
    """
    if files.is_path(name):
        return ()
    check(name)
    recipe = MODELS[name]
    # Read, not imported: the file of a network imports tf_keras.
    source = Path(__file__).with_name(f"{recipe.file}.py").read_text(encoding="utf-8")
    (builder,) = (
        node
        for node in ast.parse(source).body
        if isinstance(node, ast.FunctionDef) and node.name == "build"
    )
    known = (argument.arg for argument in builder.args.kwonlyargs)
    return tuple(option for option in known if option not in recipe.settled)


def check_options(name: str, given: Iterable[str]) -> None:
    """Judges the names of options without loading TensorFlow.

    Args:
        name: One of `names()`, or a file's path.
        given: Names of options for it.

    Raises:
        ValueError: If the network is unknown, or does not take one of the options.
    """
    known = options(name)
    for option in given:
        if option not in known:
            taken = f"one of {', '.join(known)}" if known else "none: the file says all"
            raise ValueError(
                f"option of {name}: got {option!r}, expected {taken}."
                f"{_hint(option, known)}"
            )


def build(
    name: str, input_shape: tuple[int, ...], num_classes: int, **chosen: Any
) -> keras.Model:
    """Builds an untrained network.

    Args:
        name: One of `names()`, or a file's path: the network at its weights.
        input_shape: Of one image, (height, width, channels).
        num_classes: Number of logits.
        **chosen: `options` of the network.

    Returns:
        A functional model, pixels [n, *input_shape] in [0, 1] -> logits [n, classes].

    Raises:
        ValueError: If the name, an option or its value is none the network takes.
    """
    check(name)
    check_options(name, chosen)
    if files.is_path(name):
        return files.load(name, input_shape, num_classes)
    recipe = MODELS[name]
    module = importlib.import_module(f"models.{recipe.file}")
    settled = {**chosen, **recipe.settled}
    return module.build(tuple(input_shape), num_classes, **settled)


def _hint(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, list(known), n=1)
    return f" Did you mean {near[0]!r}?" if near else ""
