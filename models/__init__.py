"""Networks by name: `build("mlp", input_shape, num_classes, **options)`.

Every network is a functional tf_keras model that takes pixels in [0, 1] and ends in
logits. To add one: a file with one builder, and a line in `MODELS`.
"""

from __future__ import annotations

import difflib
import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import tf_keras as keras

MODELS = {"mlp": "models.mlp"}
"""Model name -> the module whose `build` makes it (imported when asked for)."""


def names() -> list[str]:
    """Returns the names `build` knows."""
    return sorted(MODELS)


def check(name: str) -> None:
    """Judges a model name without loading TensorFlow.

    Raises:
        ValueError: If the name is unknown.
    """
    if name not in MODELS:
        near = difflib.get_close_matches(name, MODELS, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ValueError(
            f"model: got {name!r}, expected one of {', '.join(names())}.{hint}"
        )


def build(
    name: str, input_shape: tuple[int, ...], num_classes: int, **options: Any
) -> keras.Model:
    """Builds an untrained network.

    Args:
        name: One of `names()`.
        input_shape: Of one image, (height, width, channels).
        num_classes: Number of logits.
        **options: Of the network's own `build`.

    Returns:
        A functional model, pixels [n, *input_shape] in [0, 1] -> logits [n, classes].
    """
    check(name)
    module = importlib.import_module(MODELS[name])
    return module.build(tuple(input_shape), num_classes, **options)
