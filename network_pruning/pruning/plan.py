"""What a cut would do, said before it is done: tensor by tensor, and what it leaves."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
import tf_keras as keras

from network_pruning.graph import leaf_layers
from network_pruning.pruning.slices import sliced_shapes
from network_pruning.pruning.units import Groups, UnitGroup, find_groups
from network_pruning.pruning.widths import Widths
from network_pruning.types import BoolArray, Masks


@dataclass(frozen=True)
class PlannedGroup:
    """One group's part.

    Attributes:
        name: Of the group.
        units: How many there are.
        kept: Indices of those that stay.
        producers: Paths of the layers that lose outputs.
        followers: Paths of the layers with weights per unit in between.
        consumers: Paths of the layers that lose inputs.
    """

    name: str
    units: int
    kept: list[int]
    producers: list[str]
    followers: list[str]
    consumers: list[str]


@dataclass(frozen=True)
class PlannedTensor:
    """One weight that changes: its path, and its shapes."""

    path: str
    before: tuple[int, ...]
    after: tuple[int, ...]


@dataclass(frozen=True)
class Plan:
    """What is cut, where, what is not and why, and what it leaves.

    Attributes:
        model: Name of the network.
        groups: In graph order.
        tensors: Weights that get smaller, in graph order.
        refused: (layer path, reason) of what cannot be cut.
        params: Parameters before and after, frozen ones too.
        macs: Of one example, before and after; None where they cannot be counted.
    """

    model: str
    groups: list[PlannedGroup]
    tensors: list[PlannedTensor]
    refused: list[tuple[str, str]]
    params: tuple[int, int]
    macs: tuple[int, int] | None

    def as_dict(self) -> dict[str, Any]:
        """Returns it as JSON can hold it."""
        return dataclasses.asdict(self)

    def __str__(self) -> str:
        return "\n".join([
            f"{self.model}:",
            *_table(
                ("group", "units", "stay", "made by", "read by"),
                [_group_line(group) for group in self.groups],
            ),
            "",
            *_table(
                ("tensor", "before", "after"),
                [(t.path, _shape(t.before), _shape(t.after)) for t in self.tensors],
            ),
            "",
            *(f"not cut: {path}: {reason}" for path, reason in self.refused),
            _change("parameters", self.params),
            "MACs: unknown, some layer's cannot be counted (the log says which)"
            if self.macs is None
            else _change("MACs", self.macs),
        ])


def plan(model: keras.Model, masks: Masks) -> Plan:
    """Says what cutting units would do; nothing is built.

    Args:
        model: Functional or Sequential tf_keras model.
        masks: Bool [n_units] by group name, True = keep; a group that is not named
            keeps all.

    Returns:
        The plan; print it, or take `as_dict()`.

    Raises:
        ValueError: If the model has no graph to walk, or a mask does not fit.
    """
    groups = find_groups(model)
    vector = groups.vector(masks)
    widths = Widths(model, groups)
    return Plan(
        model=model.name,
        groups=[_planned(group, masks.get(group.name)) for group in groups],
        tensors=_tensors(model, groups, vector),
        refused=list(groups.refused),
        params=(widths.params({}), widths.params(masks)),
        macs=(widths.macs({}), widths.macs(masks)) if widths.has_macs else None,
    )


def _planned(group: UnitGroup, mask: BoolArray | None) -> PlannedGroup:
    kept = range(group.n_units) if mask is None else np.flatnonzero(mask).tolist()
    return PlannedGroup(
        name=group.name,
        units=group.n_units,
        kept=list(kept),
        producers=[member.path for member in group.producers],
        followers=[member.path for member in group.followers],
        consumers=[member.path for member in group.consumers],
    )


def _tensors(
    model: keras.Model, groups: Groups, vector: BoolArray
) -> list[PlannedTensor]:
    found = []
    for path, layer in leaf_layers(model):
        shapes = sliced_shapes(layer, groups.channels.get(id(layer)), vector)
        for weight, after in zip(layer.weights, shapes, strict=True):
            before = tuple(weight.shape)
            if before != after:
                name = weight.name.rpartition("/")[2].partition(":")[0]
                found.append(PlannedTensor(f"{path}/{name}", before, after))
    return found


def _group_line(group: PlannedGroup) -> tuple[str, ...]:
    return (
        group.name,
        str(group.units),
        str(len(group.kept)),
        ", ".join(group.producers),
        ", ".join(group.consumers),
    )


def _shape(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def _change(what: str, pair: tuple[int, int]) -> str:
    before, after = pair
    share = after / before if before else 1.0
    return f"{what}: {before:,} -> {after:,} ({share:.1%} remain)"


def _table(titles: tuple[str, ...], lines: list[tuple[str, ...]]) -> list[str]:
    """Returns lines of columns."""
    rows = [titles, *lines]
    widths = [max(len(row[i]) for row in rows) for i in range(len(titles))]
    return [
        "  ".join(
            word.ljust(width) for word, width in zip(row, widths, strict=True)
        ).rstrip()
        for row in rows
    ]
