"""Criteria: each scores the units of groups, higher = keep.

A criterion is a function (model, groups, data, seed, **options) -> Scores by group
name, so that one pass over the data can serve all groups. To add one: a file with one
`score`, a line in `CRITERIA`, a test. It never sees the test split.
"""

from __future__ import annotations

import difflib
import inspect
import numbers
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from network_pruning.classifiers import check_images
from network_pruning.pruning.criteria import (
    apoz,
    batch_norm,
    combined,
    dirichlet,
    fisher,
    fpgm,
    generalised_dirichlet,
    l1,
    l2,
    leave_one_out,
    mean_activation,
    oracle,
    partial,
    random,
    shapley,
    softmax_switch,
    taylor,
)
from network_pruning.pruning.units import UnitGroup, find_groups
from network_pruning.ranges import check_whole
from network_pruning.types import Dataset, Scores

if TYPE_CHECKING:
    import tf_keras as keras

Criterion = Callable[..., dict[str, Scores]]

CRITERIA: dict[str, Criterion] = {
    "apoz": apoz.score,
    "batch_norm": batch_norm.score,
    "combined": combined.score,
    "dirichlet": dirichlet.score,
    "fisher": fisher.score,
    "fpgm": fpgm.score,
    "generalised_dirichlet": generalised_dirichlet.score,
    "l1": l1.score,
    "l2": l2.score,
    "leave_one_out": leave_one_out.score,
    "mean_activation": mean_activation.score,
    "oracle": oracle.score,
    "partial": partial.score,
    "random": random.score,
    "shapley": shapley.score,
    "softmax_switch": softmax_switch.score,
    "taylor": taylor.score,
}
"""Name -> criterion."""


def score_units(
    model: keras.Model,
    criterion: str,
    data: Dataset | None = None,
    groups: Iterable[UnitGroup] | None = None,
    seed: int = 0,
    **options: Any,
) -> dict[str, Scores]:
    """Scores the units of a network.

    Args:
        model: Functional or Sequential tf_keras model.
        criterion: One of `CRITERIA`.
        data: Training data; None for criteria that read weights alone.
        groups: Those to score, of this model; None finds all.
        seed: Of whatever the criterion draws.
        **options: Of the criterion.

    Returns:
        Scores by group name. Seconds that the criterion has not measured itself are
        those of the whole pass, shared out evenly.

    Raises:
        ValueError: If the criterion or an option is unknown or of the wrong kind, the
            groups are another model's, or the data are none of this project's or have
            other images than the model takes.
    """
    function = _known(criterion)
    _check_options(criterion, function, options)
    check_whole({"seed": seed})
    if data is not None:
        check_images(model, data)
    chosen = list(find_groups(model) if groups is None else groups)
    _check_groups(model, chosen)
    start = time.perf_counter()
    scores = function(model, chosen, data, seed, **options)
    share = (time.perf_counter() - start) / max(len(chosen), 1)
    return {
        group.name: _completed(scores[group.name], group, share) for group in chosen
    }


def _check_groups(model: keras.Model, groups: Iterable[UnitGroup]) -> None:
    own = {id(layer) for layer in model._flatten_layers()}
    for group in groups:
        if not isinstance(group, UnitGroup):
            raise ValueError(
                f"groups: got {group!r}, expected groups that find_groups(model) gives."
            )
        if any(id(member.layer) not in own for member in group.producers):
            raise ValueError(
                f"groups: {group.name!r} is of another model than {model.name!r}, "
                "expected groups that find_groups(model) gives."
            )


def _completed(scores: Scores, group: UnitGroup, seconds: float) -> Scores:
    price = scores.price
    if not price.seconds:
        price = replace(price, seconds=seconds)
    return replace(scores, price=price, parts=group.parts())


def _known(name: str) -> Criterion:
    if name in CRITERIA:
        return CRITERIA[name]
    near = difflib.get_close_matches(str(name), CRITERIA, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise ValueError(
        f"criterion: got {name!r}, expected one of {', '.join(CRITERIA)}.{hint}"
    )


def _check_options(name: str, function: Criterion, options: dict[str, Any]) -> None:
    known = list(inspect.signature(function).parameters)[4:]
    if unknown := [option for option in options if option not in known]:
        raise ValueError(
            f"criterion {name!r}: got the option {unknown[0]!r}, expected "
            f"{'one of ' + ', '.join(known) if known else 'none'}."
        )
    for option, value in options.items():
        kind = inspect.signature(function).parameters[option].annotation
        what, fits = _KINDS.get(str(kind).removesuffix(" | None"), ("", _any))
        if not (fits(value) or (value is None and str(kind).endswith("None"))):
            raise ValueError(f"{option}: got {value!r}, expected {what}.")


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _is_whole(value: Any) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def _any(value: Any) -> bool:
    return True


_KINDS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "int": ("a whole number", _is_whole),
    "float": ("a number", _is_number),
    "bool": ("True or False", lambda value: isinstance(value, bool)),
    "str": ("text", lambda value: isinstance(value, str)),
    "Mapping[str, int]": (
        "a count by name",
        lambda value: (
            isinstance(value, Mapping) and all(map(_is_whole, value.values()))
        ),
    ),
    "str | Sequence[str]": (
        "names",
        lambda value: isinstance(value, str | list | tuple),
    ),
    "Mapping[str, Mapping[str, Any]]": (
        "options by name",
        lambda value: (
            isinstance(value, Mapping)
            and all(isinstance(options, Mapping) for options in value.values())
        ),
    ),
}
"""Annotation of an option -> what may be given, in words, and how to tell."""
