"""Make a trained Keras network small and keep what it knew.

Names load when they are first asked for (PEP 562), so that a command judges its flags
without TensorFlow.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOME = {
    "ActivationRecords": "network_pruning.inversion.records",
    "ClusteringModel": "network_pruning.clustering.model",
    "Distiller": "network_pruning.distillation.distiller",
    "Ensemble": "network_pruning.posterior.ensembles",
    "GroupLasso": "network_pruning.pruning.group_lasso",
    "Hint": "network_pruning.distillation.hints",
    "PosteriorDistiller": "network_pruning.posterior.distiller",
    "ResidentChain": "network_pruning.posterior.chains",
    "Student": "network_pruning.posterior.students",
    "certify": "network_pruning.pruning.certificate",
    "cost_card": "network_pruning.evaluation.cost",
    "cyclical_sgld": "network_pruning.posterior.samplers.cyclical",
    "find_groups": "network_pruning.pruning.units",
    "gate": "network_pruning.pruning.gates",
    "keep_units": "network_pruning.pruning.selection",
    "plan": "network_pruning.pruning.plan",
    "prune_weights": "network_pruning.pruning.weights",
    "reconstruct": "network_pruning.inversion.reconstruct",
    "register_layer_rule": "network_pruning.pruning.layer_rules",
    "score_units": "network_pruning.pruning.criteria",
    "sensitivity": "network_pruning.pruning.sensitivity",
    "sghmc": "network_pruning.posterior.samplers.sghmc",
    "sgld": "network_pruning.posterior.samplers.sgld",
    "shrink": "network_pruning.pruning.surgery",
    "weight_masks": "network_pruning.pruning.weights",
}

__all__ = sorted(_HOME)  # noqa: PLE0605
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'network_pruning' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
