"""What the settings of a chain have to be: each judgement an error of one line."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from experiments.gpeds.words import (
    ESTIMATORS,
    LEAST_DRAWS,
    OWN_SETS,
    TARGETS,
    THOUSANDS,
    stranger_name,
)
from network_pruning.flags import check_id, fields_of
from network_pruning.ranges import check_above, check_from, check_share

if TYPE_CHECKING:
    from experiments.gpeds.config import GpedConfig

_POSITIVE = (
    *("prior_precision", "batch_size", "student_learning_rate", "temperature"),
    *("student_steps", "finetune_learning_rate", "trials", "population", "members"),
    *("search_updates", "lasso_updates", "baseline_epochs", "chains"),
)
_NOT_NEGATIVE = (
    *("mask_size", "num_valid", "recorded", "input_noise", "student_decay_epochs"),
    *("finetune_updates", "lasso_threshold"),
)
MEAN = "predictive"
_OPTIONAL = ("iterations", "thin", "step_size", "ensemble_every")


def check(config: GpedConfig) -> None:
    """Judges every value.

    Raises:
        ValueError: In one line, for the first unfit value.
    """
    check_id("run_name", config.run_name)
    _check_samples(config.num_training_samples)
    _check_words("target", config.target, TARGETS)
    _check_words("estimator", config.estimator, ESTIMATORS)
    _check_students(config)
    _check_numbers(config)
    _check_lessons(config)
    _check_procedures(config)
    _check_chains(config)
    _check_temperature(config)
    if config.input_noise and "uo" in config.estimator:
        raise ValueError(
            "input_noise: got noise with the estimator uo, expected 0: means "
            "belong to fixed cases"
        )


def _check_temperature(config: GpedConfig) -> None:
    searched = "search" in config.procedures() and config.search_target == MEAN
    if config.temperature != 1 and MEAN not in config.target and not searched:
        raise ValueError(
            f"temperature: got {config.temperature} with --target="
            f"{','.join(config.target)}, expected 1: it is of the target {MEAN} alone"
        )


def _check_chains(config: GpedConfig) -> None:
    if config.chains > 1 and not (config.num_valid and config.draws >= LEAST_DRAWS):
        raise ValueError(
            f"chains: got {config.chains} with --num_valid={config.num_valid} and "
            f"{config.draws} draws, expected held-out images and {LEAST_DRAWS} draws "
            "(--ensemble_every) to compare them by"
        )


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
    if "search" in asked and importlib.util.find_spec("optuna") is None:
        raise ValueError(
            "optuna: not installed, the search needs it: pip install -e .[search]"
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
