"""The flags of `python -m experiments.gped`, and what presets make of them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from typing import Any, Literal

from experiments.gpeds import checks
from experiments.gpeds.words import CIFAR, PROCEDURES
from network_pruning.flags import flag

ITERATIONS = {"smoke": 2_000, "small": 100_000, "full": 1_000_000}
"""Preset -> steps of the chain."""
NOT_THE_CHAIN = frozenset({
    *("procedure", "output_dir", "run_name", "chains"),
    *("lasso_weights", "lasso_updates", "lasso_step", "lasso_threshold"),
    *("finetune_updates", "finetune_learning_rate"),
    *(
        "trials",
        "population",
        "search_updates",
        "search_target",
        "members",
        "baseline_epochs",
    ),
})
"""Fields that change nothing about the chain and its students."""


@dataclass(frozen=True)
class GpedConfig:
    """One chain, its students, and what is done with them."""

    procedure: Literal[
        "distill", "prune_finetune", "search", "ood", "rank_uncertainty", "all"
    ] = flag("distill", "Which step; those after distill read what it has left.")
    preset: Literal["smoke", "small", "full"] = flag(
        "small", "Length of the chain: 2e3, 1e5 or 1e6 steps."
    )
    dataset: str = flag(
        "mnist", "Images: mnist, cifar10, uci_digits, any other name, or a path."
    )
    teacher: Literal["gped_fc", "gped_cnn_mnist", "gped_cnn_cifar"] = flag(
        "gped_fc", "Network that walks through the posterior."
    )
    student: tuple[int, ...] = flag(
        (400, 400), "Widths of the students of gped_fc, before their factors."
    )
    student_multiplication_factor_1: tuple[float, ...] = flag(
        (1.0,),
        "On a student's channels (gped_fc: on its first width); one student for each.",
    )
    student_multiplication_factor_2: tuple[float, ...] = flag(
        (1.0,), "On a student's dense units (gped_fc: on its second width), likewise."
    )
    target: tuple[str, ...] = flag(
        ("predictive",),
        "What students learn: predictive, entropy, both, variance; or as baselines "
        "dirichlet (EnD2) and dark_knowledge (one network as wide as the teacher).",
    )
    estimator: tuple[str, ...] = flag(
        ("us",), "us: from the last draw; uo: from the mean over draws of each case."
    )
    temperature: float = flag(
        1.0, "Divides the logits of both sides for the target predictive."
    )
    mask_size: int = flag(0, "Side of the square of missing pixels; 0 for none.")
    num_training_samples: int | None = flag(
        None, "Images that the posterior is of; by default all that do not validate."
    )
    num_valid: int = flag(
        5_000, "Held-out training images; 0: students learn on them, too."
    )
    iterations: int | None = flag(None, "Steps of the chain, instead of the preset's.")
    burn_in: int | None = flag(
        None,
        "Steps before the first that counts; by default 1000, with gped_cnn_cifar "
        "10000, and never more than a tenth of the chain.",
    )
    thin: int | None = flag(
        None,
        "Steps from one lesson to the next; by default 10 for entropies, else 100.",
    )
    student_steps: int = flag(1, "Updates of a student in each lesson.")
    step_size: float | None = flag(
        None, "Of SGLD; by default 4e-6, with gped_cnn_cifar 2e-6."
    )
    prior_precision: float = flag(10.0, "Of the Gaussian prior on every weight.")
    noise: Literal["two_point", "gaussian"] = flag(
        "two_point", "Of SGLD: random signs, or normal deviates at far higher cost."
    )
    batch_size: int = flag(100, "Images of a minibatch, and cases of a student's.")
    student_learning_rate: float = flag(0.001, "Of Adam, at first.")
    student_decay_epochs: int = flag(
        200, "Passes over the training images after which it is halved; 0: never."
    )
    student_dropout: float = flag(0.0, "Dropout rate of the students.")
    input_noise: float = flag(
        0.0, "Standard deviation of noise on the cases of us, .001 as published."
    )
    ensemble_every: int | None = flag(
        None,
        "Steps between draws that count in the ensemble; by default 100 up to 1e5 "
        "steps of the chain, then a thousandth of it.",
    )
    chains: int = flag(
        1,
        "Chains in all: those after the first start elsewhere, teach nobody, and are "
        "compared with it by split R-hat.",
    )
    recorded: int = flag(
        100, "Positions of the chain to keep for later students, at most; 0: none."
    )
    ood: tuple[str, ...] = flag(
        (), "Out-of-distribution sets, by name or path; notMNIST is a folder of idx."
    )
    persist_data: bool = flag(
        True, "Keep the missing squares in a file, so that all runs share them."
    )
    lasso_weights: tuple[float, ...] = flag(
        (1e-5, 1e-4, 1e-3), "Of the group lasso, one pruned student for each."
    )
    lasso_step: Literal["proximal", "penalty"] = flag(
        "proximal",
        "Block soft-threshold after each update, which reaches zero; or a term of the "
        "loss, as published.",
    )
    lasso_updates: int = flag(10_000, "Updates of a student under the lasso.")
    lasso_threshold: float = flag(
        1e-3, "Norm at or below which all that enters a unit counts as zero."
    )
    finetune_updates: int = flag(10_000, "Updates after the cut.")
    finetune_learning_rate: float = flag(1e-4, "Of the fine-tuning.")
    trials: int = flag(40, "Architectures that the search looks at.")
    population: int = flag(10, "Architectures that are trained at a time.")
    search_updates: int = flag(10_000, "Updates of each of them.")
    search_target: Literal["predictive", "entropy"] = flag(
        "predictive", "What the searched students learn: NLL or entropy error."
    )
    members: int = flag(5, "Networks of the deep ensemble.")
    baseline_epochs: int = flag(20, "Epochs of each deterministic network.")
    seed: int = flag(0, "Of everything.")
    run_name: str | None = flag(None, "Folder of the experiment; made from the flags.")
    output_dir: str = flag("results", "Folder of all runs.")

    def __post_init__(self) -> None:
        """Judges every value.

        Raises:
            ValueError: In one line, for the first unfit value.
        """
        checks.check(self)

    @property
    def steps(self) -> int:
        """Of the chain."""
        return self.iterations or ITERATIONS[self.preset]

    @property
    def burnt(self) -> int:
        """Steps before the first that counts."""
        if self.burn_in is not None:
            return self.burn_in
        usual = 10_000 if self.teacher == CIFAR else 1_000
        return min(usual, self.steps // 10)

    @property
    def eta(self) -> float:
        """Step size of SGLD."""
        return self.step_size or (2e-6 if self.teacher == CIFAR else 4e-6)

    @property
    def draws_every(self) -> int:
        """Steps between draws that count in the ensemble."""
        return self.ensemble_every or max(100, self.steps // 1_000)

    @property
    def draws(self) -> int:
        """How many count in the ensemble."""
        return (self.steps - self.burnt) // self.draws_every

    @property
    def records_every(self) -> int:
        """Steps between recorded positions; meant for `recorded` above 0."""
        return max(1, -(-(self.steps - self.burnt) // max(self.recorded, 1)))

    def seed_of(self, stride: int, number: int) -> int:
        """Returns the seed of a part: within NumPy's range, however large --seed is."""
        return (stride * self.seed + number) % 2**32

    def thin_of(self, target: str) -> int:
        """Returns the steps from one lesson of a target to the next."""
        return self.thin or (10 if target == "entropy" else 100)

    def factors(self) -> list[tuple[float, float]]:
        """Returns the pairs of multiplication factors, one for each student."""
        firsts, seconds = (
            self.student_multiplication_factor_1,
            self.student_multiplication_factor_2,
        )
        longest = max(len(firsts), len(seconds))
        return [
            (firsts[i % len(firsts)], seconds[i % len(seconds)]) for i in range(longest)
        ]

    def procedures(self) -> tuple[str, ...]:
        """Returns the steps to take, in order."""
        return PROCEDURES if self.procedure == "all" else (self.procedure,)

    def digest(self, *further: str) -> str:
        """Returns 8 hex digits that change with the chain and the named other fields.

        Fields at their default are left out, so that later versions know older runs.
        """
        fields = type(self).__dataclass_fields__
        chosen = {
            name: value
            for name, value in self.as_dict().items()
            if (name not in NOT_THE_CHAIN or name in further)
            and value != json.loads(json.dumps(fields[name].default))
        }
        text = json.dumps(chosen, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:8]

    def run_id(self) -> str:
        """Returns the folder's name."""
        if self.run_name is not None:
            return self.run_name
        return f"gped-{self.teacher.removeprefix('gped_')}-{self.digest()}"

    def as_dict(self) -> dict[str, Any]:
        """Returns every field as JSON can hold it."""
        return json.loads(json.dumps(dataclasses.asdict(self)))
