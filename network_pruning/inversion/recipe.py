"""How images are reconstructed, in numbers and words. No Keras."""

from __future__ import annotations

import difflib
import math
from dataclasses import dataclass
from typing import Literal

from network_pruning.ranges import check_above, check_from, check_whole

OBJECTIVES = (
    "top_layer",
    "all_layers",
    "all_layers_dropout",
    "spectral_all_layers",
    "spectral_layer_pairs",
)
SCOPES = {"spectral_all_layers": "network", "spectral_layer_pairs": "pairs"}
"""Objective of spectra -> the records' spectra that it needs."""
LAYERED = tuple(name for name in OBJECTIVES if name not in SCOPES)
OF_LAYERS = ("joint", "weighting", "rectify")
"""What says how activations are drawn and compared, and nothing of coefficients."""
Weighting = Literal["balanced", "published"]

LEAST = {"n": 1, "seed": 0, "steps": 1, "batch": 1, "blur_every": 1}
"""Whole numbers of a recipe, and the smallest that each may be."""
SWITCHES = ("joint", "residual", "rectify", "clip", "blur")


@dataclass(frozen=True)
class Recipe:
    """All that the images depend on, beside network and records.

    Attributes:
        objective: One of `OBJECTIVES`.
        n: Images of each class.
        seed: Of the draws.
        steps: Of Adam.
        learning_rate: Of Adam.
        batch: Images moved at once, nearly.
        joint: Whether layers that share a law are drawn together.
        residual: Whether what factors leave out of a variance is drawn, too.
        weighting: Of the layers against each other, see `aims.LayersAim`.
        rectify: Whether activations and targets pass a ReLU before they are compared.
        start_mean: Of the pixels at the start; None: as in the data.
        start_sd: Likewise.
        clip: Whether pixels are kept in the range that they had in the data.
        blur: Whether images are smoothed, see `objectives.blurred`.
        blur_every: Steps from one time to the next.
        total_variation: Weight of `objectives.total_variation`.
        batch_norm: Weight of `objectives.batch_norm_apart`.
        jit: Whether to compile the step with XLA; None: if there is no convolution.
    """

    objective: str = "all_layers"
    n: int = 640
    seed: int = 0
    steps: int = 400
    learning_rate: float = 0.05
    batch: int = 1000
    joint: bool = True
    residual: bool = True
    weighting: Weighting = "balanced"
    rectify: bool = True
    start_mean: float | None = None
    start_sd: float | None = None
    clip: bool = True
    blur: bool = False
    blur_every: int = 1
    total_variation: float = 0.0
    batch_norm: float = 0.0
    jit: bool | None = None

    def __post_init__(self) -> None:
        """Judges every value.

        Raises:
            ValueError: In one line, for the first unfit value.
        """
        check_objective(self.objective)
        _check_kinds(self)
        if self.weighting not in {"balanced", "published"}:
            raise ValueError(
                f"weighting: got {self.weighting!r}, expected balanced or published"
            )
        _check_spectral(self)
        check_above({"learning_rate": self.learning_rate})
        if self.start_mean is not None and not math.isfinite(self.start_mean):
            raise ValueError(
                f"start_mean: got {self.start_mean}, expected a finite number"
            )
        check_from({"total_variation": self.total_variation})
        check_from({"batch_norm": self.batch_norm})
        if self.start_sd is not None:
            check_from({"start_sd": self.start_sd})


def _check_kinds(recipe: Recipe) -> None:
    for name, least in LEAST.items():
        check_whole({name: getattr(recipe, name)}, least)
    for name in SWITCHES:
        if not isinstance(getattr(recipe, name), bool):
            raise ValueError(
                f"{name}: got {getattr(recipe, name)!r}, expected True or False"
            )


def _check_spectral(recipe: Recipe) -> None:
    if recipe.objective not in SCOPES:
        return
    for name in OF_LAYERS:
        if getattr(recipe, name) != Recipe.__dataclass_fields__[name].default:
            raise ValueError(
                f"{name}: got {getattr(recipe, name)!r} with the objective "
                f"{recipe.objective}, which compares coefficients of spectra: leave it "
                f"out, or take {', '.join(LAYERED)}"
            )


def check_objective(objective: str) -> None:
    """Judges the name of an objective.

    Raises:
        ValueError: If there is none of this name.
    """
    if objective not in OBJECTIVES:
        near = difflib.get_close_matches(objective, OBJECTIVES, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ValueError(
            f"objective: got {objective!r}, expected one of {', '.join(OBJECTIVES)}."
            f"{hint}"
        )
