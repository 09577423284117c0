"""What each kind of layer does to channels: one declarative rule per class.

A channel is an index along the last axis of a tensor. A mixer (Dense) reads all
channels and makes new ones, its units; a follower (BatchNormalization) has weights per
channel; a passive layer (ReLU, Flatten, Add) has none. A layer without a rule is
refused: the channels that touch it are never cut.
"""

from __future__ import annotations

from typing import Any

import tf_keras as keras

from network_pruning.graph import is_operator
from network_pruning.pruning.layer_rules import followers, merges, mixers, passives
from network_pruning.pruning.layer_rules.operators import OPERATORS
from network_pruning.pruning.layer_rules.rule import (
    Axes,
    Channels,
    LayerRule,
    NotUnderstood,
    Side,
    Site,
)

__all__ = [
    "OPERATORS",
    "RULES",
    "Axes",
    "Channels",
    "LayerRule",
    "NotUnderstood",
    "Side",
    "Site",
    "register_layer_rule",
    "rule_of",
]

RULES: dict[type[Any], LayerRule] = {
    **mixers.RULES,
    **followers.RULES,
    **passives.RULES,
    **merges.RULES,
}
"""Layer class -> rule. Exact classes: a subclass may compute something else."""


def rule_of(layer: keras.layers.Layer) -> LayerRule | None:
    """Returns the rule of a layer, or of the operator it stands for, or None."""
    if is_operator(layer):
        return OPERATORS.get(str(layer.symbol))
    return RULES.get(type(layer))


def register_layer_rule(layer_class: type[Any], rule: LayerRule) -> None:
    """Teaches how a custom layer treats channels.

    Args:
        layer_class: The class; its subclasses need rules of their own.
        rule: For a subclass of Dense that only adds a print, `RULES[Dense]`.

    Raises:
        ValueError: If the class has a rule already, or they are something else.
    """
    if not (isinstance(layer_class, type) and isinstance(rule, LayerRule)):
        raise ValueError(
            f"got {layer_class!r} and {rule!r}, expected a class of layers and a "
            "LayerRule, as in RULES"
        )
    if layer_class in RULES:
        raise ValueError(
            f"layer class {layer_class.__name__} has a rule already, expected a class "
            f"without one: change RULES[{layer_class.__name__}] if it must differ."
        )
    RULES[layer_class] = rule
