"""Make a trained Keras network small and keep what it knew.

Names load when they are first asked for (PEP 562), so that a command judges its flags
without TensorFlow.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOME = {
    "certify": "network_pruning.pruning.certificate",
    "cost_card": "network_pruning.evaluation.cost",
    "find_groups": "network_pruning.pruning.units",
    "gate": "network_pruning.pruning.gates",
    "keep_units": "network_pruning.pruning.selection",
    "plan": "network_pruning.pruning.plan",
    "prune_weights": "network_pruning.pruning.weights",
    "register_layer_rule": "network_pruning.pruning.layer_rules",
    "score_units": "network_pruning.pruning.criteria",
    "sensitivity": "network_pruning.pruning.sensitivity",
    "shrink": "network_pruning.pruning.surgery",
}

__all__ = sorted(_HOME)  # noqa: PLE0605
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'network_pruning' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
