"""Networks by name: `build("mlp", input_shape, num_classes, **options)`.

A name may also be the path of a trained model's file. Every network of a name is a
functional tf_keras model that takes pixels in [0, 1] and ends in logits. To add one: a
file with one builder, and a line in `MODELS`.
"""

from __future__ import annotations

import ast
import difflib
import importlib
import importlib.util
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models import files

if TYPE_CHECKING:
    import tf_keras as keras

MODELS = {"mlp": "models.mlp"}
"""Model name -> the module whose `build` makes it (imported when asked for)."""


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
        near = difflib.get_close_matches(name, MODELS, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ValueError(
            f"model: got {name!r}, expected one of {', '.join(names())}.{hint}"
        )


def options(name: str) -> tuple[str, ...]:
    """Returns what `build` can be asked for beside the name, without TensorFlow.

    Args:
        name: One of `names()`, or a file's path: a file takes nothing.
    """
    if files.is_path(name):
        return ()
    found = importlib.util.find_spec(MODELS[name])
    tree = ast.parse(Path(str(found and found.origin)).read_text(encoding="utf-8"))
    (build,) = [
        node
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and node.name == "build"
    ]
    return tuple(word.arg for word in build.args.kwonlyargs)


def check_options(name: str, given: Iterable[str]) -> None:
    """Judges what a network is asked for beside its name, without TensorFlow.

    Raises:
        ValueError: For the first option that the network does not take.
    """
    taken = options(name)
    for option in given:
        if option not in taken:
            what = ", ".join(taken) or "none: the file says how it is built"
            raise ValueError(f"model {name} has no option {option}, it has {what}")


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
    """
    check(name)
    check_options(name, chosen)
    if files.is_path(name):
        return files.load(name, input_shape, num_classes)
    module = importlib.import_module(MODELS[name])
    return module.build(tuple(input_shape), num_classes, **chosen)
