"""The flags of the command that cuts the units of a trained network."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from network_pruning.flags import (
    OF_SGD,
    OF_SHIFTS,
    check_id,
    check_meant_for,
    check_momentum,
    fields_of,
    flag,
)
from network_pruning.network_config import NetworkConfig
from network_pruning.ranges import check_above, check_from, check_share
from network_pruning.types import Augmentation

COSTS = ("params", "macs", "bytes", "latency")
EXPORTS = ("tflite", "int8", "saved_model")
SHARE = "[0,1), 0.01 for one point"
LIMITS = {
    "max_drop": ("drop of accuracy", SHARE),
    "max_nll_increase": ("rise", "nats, 0 or more"),
    "max_ece_increase": ("rise", SHARE),
    "max_auroc_drop": ("drop", SHARE),
}
"""Flag -> what it limits, and the values it may have."""

TAUGHT = ("soft_weight", "temperature")
"""Flags that say how --teacher teaches."""
RETRAINING = (
    *("retrain", "teacher", "optimizer", "learning_rate", "momentum", "nesterov"),
    *("weight_decay", "augment", "shift", "erase", "early_stopping", "batch_size"),
)
"""Flags that say whether and how a cut network is retrained."""
POSITIVE = (
    *("steps", "round_to", "batch_size", "learning_rate", "shift"),
    "temperature",
)


@dataclass(frozen=True)
class PruneConfig(NetworkConfig):
    """Cuts the units of a network, retrains it, hands it back."""

    scores: str | None = flag(
        None,
        "A finished ranking instead of --criterion: its folder, or its scores.npz.",
        "training",
    )
    keep: tuple[int, ...] | None = flag(
        None, "Units to keep of each group, in graph order (see --plan)."
    )
    sparsity: float | None = flag(None, "Share of the units to remove, in [0,1).")
    budget: tuple[str, ...] | None = flag(
        None,
        "Share of the dense cost that may remain: macs:0.5; also params, bytes, "
        "latency, several with commas.",
    )
    max_drop: float | None = flag(
        None,
        "Cut as deep as the validation accuracy, before any retraining, falls by no "
        "more than this: 0.01 is one point.",
    )
    max_nll_increase: float | None = flag(
        None, "Likewise as the validation NLL rises by no more than this, in nats."
    )
    max_ece_increase: float | None = flag(
        None, "Likewise as the calibration error rises by no more than this."
    )
    max_auroc_drop: float | None = flag(
        None,
        "Likewise as the AUROC of telling images of --ood from those of validation, by "
        "the entropy of the prediction, falls by no more than this.",
    )
    ood: str | None = flag(
        None, "Out-of-distribution images of --max_auroc_drop, as --dataset names them."
    )
    retrain: bool = flag(
        False, "Cut nothing: retrain the network, pruned earlier, as it is."
    )
    scope: Literal["layer", "global"] = flag(
        "layer", "Whether every layer loses the share, or all of them together."
    )
    round_to: int = flag(1, "Keep multiples of this many units, rounded up.")
    steps: int = flag(
        1, "Cut in so many steps, each ranked and retrained after the one before."
    )
    plan: bool = flag(
        False, "Say what would be cut, tensor by tensor, and do nothing.", "view"
    )
    retrain_epochs: int = flag(0, "Epochs of retraining after each step.")
    teacher: str | None = flag(
        None,
        "Retrain towards the predictions of this network: path/to/a.keras (say a "
        "student of experiments.gped), or the folder of a run of experiments.gped, "
        "whose chain's mean prediction then teaches.",
    )
    soft_weight: float = flag(
        1.0, "Share of the teacher in the loss, in [0,1]; the rest is of the labels."
    )
    temperature: float = flag(
        1.0, "Divides both logits where they are compared; 1 keeps the calibration."
    )
    batch_size: int = flag(128, "Images in a step of the retraining.")
    optimizer: Literal["adam", "sgd"] = flag("adam", "Optimiser of the retraining.")
    learning_rate: float = flag(0.001, "Its first step size; it falls as a cosine.")
    momentum: float = flag(0.9, "Momentum of sgd.")
    nesterov: bool = flag(False, "Whether the momentum of sgd is Nesterov's.")
    weight_decay: float = flag(0.0, "Decay of every kernel.")
    augment: Augmentation = flag(
        "none", "Change of the training images, as network_pruning.train has it."
    )
    shift: int = flag(2, "Pixels of --augment.")
    erase: int = flag(0, "Side of a square that each training image loses, likewise.")
    early_stopping: int = flag(
        0, "End a retraining after so many epochs without a better --monitor."
    )
    export: tuple[str, ...] = flag(
        (), "Files beside the .keras: tflite, int8, saved_model.", "view"
    )
    run_name: str | None = flag(
        None, "Name of this cut's folder; by default made from the settings.", "view"
    )

    def __post_init__(self) -> None:
        """Judges every value.

        Raises:
            ValueError: In one line, for the first unfit value.
        """
        super().__post_init__()
        check_id("run_name", self.run_name)
        self._check_what()
        self._check_scores()
        self.budgets()
        if self.sparsity is not None and not 0 <= self.sparsity < 1:
            raise ValueError(
                f"sparsity: got {self.sparsity}, expected a share to remove in [0,1)"
            )
        self._check_limits()
        if self.keep is not None and (not self.keep or min(self.keep) < 1):
            raise ValueError(
                f"keep: got {self.keep}, expected at least one unit of every group"
            )
        if unknown := [name for name in self.export if name not in EXPORTS]:
            raise ValueError(
                f"export: got {unknown[0]!r}, expected some of {', '.join(EXPORTS)}"
            )
        self._check_teacher()
        self._check_numbers()
        self._check_retraining()

    def _check_teacher(self) -> None:
        given = [name for name in TAUGHT if getattr(self, name) != 1]
        if self.teacher is None and given:
            raise ValueError(f"{given[0]}: got it without --teacher, expected both")
        check_share(fields_of(self, "soft_weight"))

    def _check_retraining(self) -> None:
        fields = type(self).__dataclass_fields__
        given = [n for n in RETRAINING if getattr(self, n) != fields[n].default]
        if given and not self.retrain_epochs:
            raise ValueError(f"{given[0]}: got --retrain_epochs=0, expected at least 1")
        check_meant_for(self, {**OF_SGD, **OF_SHIFTS})
        check_momentum(self.momentum, self.nesterov)

    def _check_what(self) -> None:
        ways = {name: getattr(self, name) for name in ("keep", "sparsity", "budget")}
        # Limits go together, and are one way.
        ways |= {next(iter(self.limits()), "max_drop"): self.limits() or None}
        ways |= {"retrain": self.retrain or None}
        given = [f"--{name}" for name, value in ways.items() if value is not None]
        if len(given) != 1:
            raise ValueError(
                f"got {' and '.join(given) or 'no cut'}, expected exactly one of "
                + ", ".join(f"--{name}" for name in ways)
                + "; limits go together: "
                + ", ".join(f"--{name}" for name in LIMITS)
            )
        self._check_together()

    def _check_together(self) -> None:
        idle = {
            "--plan": self.plan,
            "--steps above 1": self.steps > 1,
            "--scope": self.scope != "layer",
            "--round_to": self.round_to > 1,
        }
        also = next((name for name, given in idle.items() if given), None)
        if self.retrain and also:
            raise ValueError(f"retrain: got {also}, but it cuts nothing: leave one out")
        if self.keep is not None and self.scope != "layer":
            raise ValueError(
                f"scope: got {self.scope} and --keep, whose counts say what stays of "
                "each group: leave one out"
            )
        if self.keep is not None and self.round_to > 1:
            raise ValueError(
                "round_to: got --keep as well, expected it to hold the rounded counts"
            )
        if self.steps > 1 and self.limits():
            name = next(iter(self.limits()))
            raise ValueError(f"{name}: got --steps above 1, expected a single cut")

    def _check_limits(self) -> None:
        for name, value in self.limits().items():
            what, unit = LIMITS[name]
            if not 0 <= value < (math.inf if unit != SHARE else 1):
                raise ValueError(f"{name}: got {value}, expected a {what} in {unit}")
        if (self.ood is None) != (self.max_auroc_drop is None):
            got, lacks = "max_auroc_drop", "ood"
            if self.ood is not None:
                got, lacks = lacks, got
            raise ValueError(f"{got}: got it without --{lacks}, expected both of them")

    def limits(self) -> dict[str, float]:
        """Returns what a cut may cost on valid, by flag."""
        values = {name: getattr(self, name) for name in LIMITS}
        return {name: value for name, value in values.items() if value is not None}

    def _check_scores(self) -> None:
        if self.scores is None:
            return
        if self.steps > 1:
            raise ValueError(
                "scores: got --steps above 1, whose later cuts need scores of the "
                "networks between: give --criterion instead"
            )
        if self.retrain:
            raise ValueError(
                "retrain: got --scores, but it cuts nothing: leave one out"
            )
        if self.criterion != "l2":
            raise ValueError(
                f"scores: got --criterion={self.criterion} as well, expected one of "
                "them: the scores are a criterion's already"
            )

    def _check_numbers(self) -> None:
        check_above(fields_of(self, *POSITIVE))
        names = ("retrain_epochs", "early_stopping", "weight_decay", "erase")
        check_from(fields_of(self, *names))

    def budgets(self) -> dict[str, float] | None:
        """Returns the shares that may remain by cost, or None.

        Raises:
            ValueError: If one cannot be read.
        """
        if self.budget is None:
            return None
        found = {}
        for word in self.budget:
            name, _, text = word.partition(":")
            try:
                share = float(text)
            except ValueError:
                share = math.nan
            if name not in COSTS or not 0 < share <= 1:
                raise ValueError(
                    f"budget: got {word!r}, expected cost:share, the share that may "
                    f"remain in (0,1], as in macs:0.5; costs are {', '.join(COSTS)}"
                )
            if name in found:
                raise ValueError(
                    f"budget: got {name} twice, expected one share of each cost"
                )
            found[name] = share
        return found
