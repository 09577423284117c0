"""The flags of `python -m experiments.gped`, and what presets make of them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from network_pruning.flags import (
    check_above,
    check_from,
    check_id,
    check_share,
    fields_of,
    flag,
)

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
ITERATIONS = {"smoke": 2_000, "small": 100_000, "full": 1_000_000}
"""Preset -> steps of the chain."""
CIFAR = "gped_cnn_cifar"
TELLING = ("both", "dirichlet")
"""Targets whose students tell what the chain does not know."""
OWN_SETS = ("test", "valid")
"""Sets of the dataset itself that the chain is watched on."""
LEAST_DRAWS = 4
"""Of a chain, so that its halves have a variance."""
THOUSANDS = 1_000
"""The original counted training samples in thousands: fewer are asked about."""
NOT_THE_CHAIN = frozenset({
    *("procedure", "output_dir", "run_name", "lasso_weights", "lasso_updates"),
    "chains",
    *(
        "lasso_step",
        "finetune_updates",
        "finetune_learning_rate",
        "lasso_threshold",
        "trials",
    ),
    *("population", "search_updates", "search_target", "members", "baseline_epochs"),
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
        check_id("run_name", self.run_name)
        _check_samples(self.num_training_samples)
        _check_words("target", self.target, TARGETS)
        _check_words("estimator", self.estimator, ESTIMATORS)
        _check_students(self)
        _check_numbers(self)
        _check_lessons(self)
        _check_procedures(self)
        if self.chains > 1 and not (self.num_valid and self.draws >= LEAST_DRAWS):
            raise ValueError(
                f"chains: got {self.chains} with --num_valid={self.num_valid} and "
                f"{self.draws} draws, expected held-out images and {LEAST_DRAWS} draws "
                "(--ensemble_every) to compare them by"
            )
        if self.input_noise and "uo" in self.estimator:
            raise ValueError(
                "input_noise: got noise with the estimator uo, expected 0: means "
                "belong to fixed cases"
            )

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


def stranger_name(dataset: str) -> str:
    """Returns what a set is called in files and tables: a path's last part."""
    return Path(dataset).name or dataset


_POSITIVE = (
    *("prior_precision", "batch_size", "student_learning_rate", "temperature"),
    *("student_steps", "finetune_learning_rate", "trials", "population", "members"),
    *("search_updates", "lasso_updates", "baseline_epochs", "chains"),
)
_NOT_NEGATIVE = (
    *("mask_size", "num_valid", "recorded", "input_noise", "student_decay_epochs"),
    *("finetune_updates", "lasso_threshold"),
)
_OPTIONAL = ("iterations", "thin", "step_size", "ensemble_every")


def _check_numbers(config: GpedConfig) -> None:
    check_above(fields_of(config, *_POSITIVE, *_OPTIONAL))
    check_from(fields_of(config, *_NOT_NEGATIVE))
    check_share(fields_of(config, "student_dropout"), high=")")
    if not 0 <= config.seed < 2**31:
        raise ValueError(
            f"seed: got {config.seed}, expected a whole number from 0 to 2^31 - 1"
        )
    if config.burn_in is not None and not 0 <= config.burn_in < config.steps:
        raise ValueError(
            f"burn_in: got {config.burn_in}, expected 0 or more, and fewer than the "
            f"{config.steps} steps of the chain"
        )


def _check_procedures(config: GpedConfig) -> None:
    """Judges whether the procedures asked for will have what they read.

    Raises:
        ValueError: If not.
    """
    asked = config.procedures()
    if "search" in asked and not config.num_valid:
        raise ValueError(
            "num_valid: got 0, expected held-out images: the search selects on them, "
            "as in --num_valid=5000"
        )
    if "ood" in asked and not config.ood:
        raise ValueError(
            "ood: got no out-of-distribution set, expected names or folders for "
            f"--procedure={config.procedure}, as in --ood=fashion_mnist"
        )
    if config.dataset in config.ood:
        raise ValueError(
            f"ood: got {config.dataset}, which the chain walks on, expected others"
        )
    _check_strangers(config.ood)
    taught = [name for name in ("prune_finetune", "search") if name in asked]
    if taught and not config.recorded:
        raise ValueError(
            f"recorded: got 0, expected positions of the chain, which {taught[0]} "
            "teaches from, as in --recorded=100"
        )


def _check_strangers(ood: Sequence[str]) -> None:
    """Judges whether strangers have names of their own in files and tables.

    Raises:
        ValueError: If not.
    """
    names = [stranger_name(dataset) for dataset in ood]
    for dataset, name in zip(ood, names, strict=True):
        if name in OWN_SETS or names.count(name) > 1:
            raise ValueError(
                f"ood: got {dataset}, whose name {name!r} another set of images has, "
                "expected paths that end differently, and not in "
                f"{' or '.join(OWN_SETS)}: rename the folder"
            )


def _check_lessons(config: GpedConfig) -> None:
    left = config.steps - config.burnt
    if config.draws < 1:
        raise ValueError(
            f"ensemble_every: got {config.draws_every}, expected at most {left}, the "
            f"steps behind the burn-in of {config.steps} iterations: no draw would "
            "count"
        )
    thin = max(map(config.thin_of, config.target), default=0)
    if thin <= left:
        return
    if config.thin is not None:
        raise ValueError(
            f"thin: got {thin}, expected at most {left}, the steps behind the burn-in: "
            "no student would learn"
        )
    raise ValueError(
        f"iterations: got {config.steps}, {left} of them behind the burn-in, where a "
        f"student learns every {thin}: it never would; expected more, or a --thin of "
        f"{left} at most"
    )


def _check_students(config: GpedConfig) -> None:
    for name in (
        *("student", "student_multiplication_factor_1"),
        *("student_multiplication_factor_2", "lasso_weights"),
    ):
        values = getattr(config, name)
        if not values or not all(0 < value < math.inf for value in values):
            raise ValueError(
                f"{name}: got {','.join(map(str, values)) or 'none'}, expected numbers "
                "above 0"
            )
    if (
        len(config.student) != 2
        or config.student != (400, 400)
        and (config.teacher != "gped_fc")
    ):
        raise ValueError(
            f"student: got {','.join(map(str, config.student))} with --teacher="
            f"{config.teacher}, expected two widths for gped_fc, or "
            "--student_multiplication_factor_1 and _2 for the others"
        )


def _check_samples(samples: int | None) -> None:
    if samples is not None and samples < THOUSANDS:
        raise ValueError(
            f"num_training_samples: got {samples}, expected images, at least "
            f"{THOUSANDS}: did you mean {max(samples, 1) * THOUSANDS}? The original "
            "counted thousands"
        )


def _check_words(name: str, words: Sequence[str], known: Sequence[str]) -> None:
    if not words or set(words) - set(known) or len(set(words)) < len(words):
        raise ValueError(
            f"{name}: got {','.join(words) or 'none'}, expected some of "
            f"{', '.join(known)}"
        )
