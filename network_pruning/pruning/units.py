"""Finds the units of a network that must live or die together.

A unit is a set of channels that are cut together; a group is the set of units that the
same layers make. What belongs to no group is named, with the reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import tf_keras as keras

from network_pruning.pruning.channel_ids import ChannelIds, IntArray
from network_pruning.pruning.channels import ChannelReader, Trace
from network_pruning.pruning.layer_rules import LayerRule
from network_pruning.types import BoolArray, Masks


@dataclass(frozen=True)
class Member:
    """A layer's share in a group.

    Attributes:
        path: Of the layer.
        layer: The layer.
        units: Unit of each channel [width], -1 where a channel is not of this group:
            the index map through Flatten and whatever else lies in between.
    """

    path: str
    layer: keras.layers.Layer
    units: IntArray

    def makes(self, n_units: int) -> BoolArray:
        """Returns which units of the group are among its channels [n_units]."""
        found = np.zeros(n_units, bool)
        found[self.units[self.units >= 0]] = True
        return found

    @property
    def is_free(self) -> bool:
        """Whether all its channels could be cut, so that some must be kept."""
        return bool((self.units >= 0).all())


@dataclass(frozen=True)
class UnitGroup:
    """Units that live or die together.

    Attributes:
        name: Path of the first producer.
        n_units: Number of units that may be cut.
        producers: Layers that make the units, with maps of their outputs.
        followers: Layers with weights per unit in between, with maps of their inputs.
        consumers: Layers that read the units, with maps of their inputs.
    """

    name: str
    n_units: int
    producers: tuple[Member, ...]
    followers: tuple[Member, ...]
    consumers: tuple[Member, ...]

    def parts(self) -> tuple[BoolArray, ...]:
        """Returns the units [n_units] of each producer that makes some, not all."""
        free = [member for member in self.producers if member.is_free]
        made = [member.makes(self.n_units) for member in free]
        return tuple(part for part in made if not part.all())


@dataclass(frozen=True)
class LayerChannels:
    """Where a layer's channels stand in the mask vector of the whole network.

    Slot 0 is the channel that always stays; the units of the groups follow in order.

    Attributes:
        path: Of the layer.
        layer: One that changes when units are cut, or the InputLayer of a nested
            model.
        rule: Of its class; None for an InputLayer.
        inputs: Slots of the input channels [width in].
        outputs: Slots of the output channels [width out].
    """

    path: str
    layer: keras.layers.Layer
    rule: LayerRule | None
    inputs: IntArray
    outputs: IntArray


class Groups(list[UnitGroup]):
    """The groups of a network in graph order, and what belongs to none.

    Attributes:
        refused: (layer path, reason) of layers not understood, and of layers some of
            whose units cannot be cut.
        channels: id(layer) -> LayerChannels of mixers, followers, reshapes and the
            inputs of nested models, in graph order. A layer without an entry is left
            as it is.
    """

    def __init__(
        self,
        groups: Iterable[UnitGroup],
        refused: list[tuple[str, str]],
        channels: dict[int, LayerChannels],
    ) -> None:
        super().__init__(groups)
        self.refused = refused
        self.channels = channels

    def check_names(self, names: Iterable[str]) -> None:
        """Refuses names of no group.

        Raises:
            ValueError: Naming the groups there are.
        """
        known = [group.name for group in self]
        if unknown := [name for name in names if name not in known]:
            raise ValueError(
                f"masks: got the group {unknown[0]!r}, expected one of {known}."
            )

    def vector(self, masks: Masks) -> BoolArray:
        """Lays masks out by slot; a group that is not named keeps all its units.

        Args:
            masks: Bool [n_units] by group name, True = keep.

        Returns:
            Bool [1 + units of all groups], the first True.

        Raises:
            ValueError: If masks are not by group name, a name is unknown, or a mask has
                another length or type or keeps nothing.
        """
        if not isinstance(masks, Mapping):
            raise ValueError(
                f"masks: got {type(masks).__name__}, expected bool [n_units] by group "
                "name, as keep_units gives them; {} cuts nothing."
            )
        self.check_names(masks)
        parts = [_checked(group, masks.get(group.name)) for group in self]
        return np.concatenate([np.ones(1, bool), *parts])


def _checked(group: UnitGroup, mask: npt.ArrayLike | None) -> BoolArray:
    if mask is None:
        return np.ones(group.n_units, bool)
    mask = np.asarray(mask)
    if mask.dtype != bool or mask.shape != (group.n_units,):
        raise ValueError(
            f"mask of group {group.name!r}: got {mask.dtype} {list(mask.shape)}, "
            f"expected bool [{group.n_units}], True = keep."
        )
    if not mask.any():
        raise ValueError(
            f"mask of group {group.name!r}: it keeps none of {group.n_units} units, "
            "expected at least one, or no signal passes."
        )
    for member in group.producers:
        if member.is_free and not mask[member.makes(group.n_units)].any():
            raise ValueError(
                f"mask of group {group.name!r}: it leaves the layer {member.path!r} no "
                f"unit, expected at least one of each layer (keep_units sees to it)."
            )
    return mask


def find_groups(model: keras.Model) -> Groups:
    """Finds the units that can be cut out of a network.

    Args:
        model: Functional or Sequential tf_keras model, built; nested ones included.

    Returns:
        The groups in graph order, and in `.refused` what cannot be cut, and why.

    Raises:
        ValueError: If the model has no graph to walk, or two of its layers have one
            path.
    """
    reader = ChannelReader()
    reader.read(model)
    labels = reader.ids.labels()
    why_frozen: dict[int, str] = {}
    for event in reader.frozen:
        about = f"its units reach {event.path!r}: {event.reason}"
        reason = about if event.path else event.reason
        for label in np.unique(labels[event.ids]):
            why_frozen.setdefault(int(label), reason)
    free = np.ones(reader.ids.size, bool)
    free[list(why_frozen)] = False
    traces = list(reader.traces.values())
    slots, sizes = _number(traces, labels, free)
    channels = {
        key: LayerChannels(
            t.path, t.layer, t.rule, slots[labels[t.inputs]], slots[labels[t.outputs]]
        )
        for key, t in reader.traces.items()
    }
    _check_paths(channels.values())
    refused = _refusals(reader, labels, free, why_frozen)
    return Groups(_groups(list(channels.values()), sizes), refused, channels)


def _check_paths(channels: Iterable[LayerChannels]) -> None:
    paths = Counter(each.path for each in channels)
    path, count = max(paths.items(), key=lambda item: item[1], default=("", 0))
    if count > 1:
        raise ValueError(
            f"{count} layers have the path {path!r}, names behind those of the models "
            "they are nested in: expected different ones, rename one of them"
        )


def _producers(traces: Iterable[Trace]) -> list[Trace]:
    return [t for t in traces if t.rule and t.rule.role == "mixer"]


def _number(
    traces: list[Trace], labels: IntArray, free: BoolArray
) -> tuple[IntArray, list[int]]:
    """Numbers the free units group by group.

    Args:
        traces: Layers in graph order.
        labels: Label of each channel id.
        free: Whether a label may be cut.

    Returns:
        Slot of each label, 0 if it is frozen; and the size of each group in order.
    """
    own = [_free_labels(t, labels, free) for t in _producers(traces)]
    components = ChannelIds()
    numbers = components.fresh(len(own))
    owner = np.full(labels.size, -1)
    for number, units in zip(numbers, own, strict=True):
        others = np.unique(owner[units][owner[units] >= 0])
        components.unite(others, np.full_like(others, number))
        owner[units] = number
    component = components.labels()
    slots = np.zeros(labels.size, np.int64)
    sizes: list[int] = []
    for group in np.unique(component):
        members = [own[i] for i in numbers[component == group]]
        units = np.concatenate(members)
        _, first = np.unique(units, return_index=True)
        units = units[np.sort(first)]
        if units.size:
            slots[units] = 1 + sum(sizes) + np.arange(units.size)
            sizes.append(units.size)
    return slots, sizes


def _free_labels(trace: Trace, labels: IntArray, free: BoolArray) -> IntArray:
    made = labels[trace.outputs]
    return made[free[made]]


def _groups(channels: list[LayerChannels], sizes: list[int]) -> list[UnitGroup]:
    starts = np.cumsum([1, *sizes])
    return [_group(channels, s, n) for s, n in zip(starts, sizes, strict=False)]


def _group(channels: list[LayerChannels], start: int, n_units: int) -> UnitGroup:
    """Returns the group of the slots [start, start + n_units)."""

    def members(role: str, side: str) -> tuple[Member, ...]:
        found = []
        for layer in channels:
            slots = getattr(layer, side)
            mine = (slots >= start) & (slots < start + n_units)
            if layer.rule and layer.rule.role == role and mine.any():
                units = np.where(mine, slots - start, -1)
                found.append(Member(layer.path, layer.layer, units))
        return tuple(found)

    producers = members("mixer", "outputs")
    return UnitGroup(
        name=producers[0].path,
        n_units=int(n_units),
        producers=producers,
        followers=members("follower", "inputs"),
        consumers=members("mixer", "inputs"),
    )


def _refusals(
    reader: ChannelReader, labels: IntArray, free: BoolArray, why: dict[int, str]
) -> list[tuple[str, str]]:
    """Returns the layers at fault, then the layers that suffer."""
    ends = np.unique(np.concatenate([labels[e.ids] for e in reader.frozen[:2]]))
    refused = {
        event.path: event.reason
        for event in reader.frozen[2:]
        if not event.quiet or not np.isin(labels[event.ids], ends).all()
    }
    for trace in _producers(reader.traces.values()):
        made = labels[trace.outputs]
        stuck = np.count_nonzero(~free[made])
        if stuck:
            reason = why[int(made[~free[made]][0])]
            share = "" if stuck == made.size else f"{stuck} of {made.size} channels: "
            refused.setdefault(trace.path, share + reason)
    return list(refused.items())
