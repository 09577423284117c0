"""The words of a chain's settings, and of the files and tables made of it."""

from __future__ import annotations

from pathlib import Path

PROCEDURES = ("distill", "prune_finetune", "search", "ood", "rank_uncertainty")
DARK = "dark_knowledge"
"""Bayesian Dark Knowledge (A. Korattikara Balan, V. Rathod, K. Murphy, M. Welling, NIPS
2015): of the predictive mean by us, the teacher's own network, noise on its cases."""
DARK_NOISE = 1e-3
"""Standard deviation of that noise."""
TARGETS = ("predictive", "entropy", "both", "variance", "dirichlet", DARK)
ESTIMATORS = ("us", "uo")
HEADS = {"predictive": "softmax", DARK: "softmax"}
"""Target -> head of the student, where it bears another name."""
CIFAR = "gped_cnn_cifar"
TELLING = ("both", "dirichlet")
"""Targets whose students tell what the chain does not know."""
OWN_SETS = ("test", "valid")
"""Sets of the dataset itself that the chain is watched on."""
LEAST_DRAWS = 4
"""Of a chain, so that its halves have a variance."""
THOUSANDS = 1_000
"""The original counted training samples in thousands: fewer are asked about."""


def stranger_name(dataset: str) -> str:
    """Returns what a set is called in files and tables: a path's last part."""
    return Path(dataset).name or dataset
