"""What a rule is: how one class of layers, or one operator, treats channels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import tf_keras as keras

from network_pruning.graph import Call
from network_pruning.pruning.channel_ids import ChannelIds, IntArray
from network_pruning.types import BoolArray

Side = Literal["in", "in of group", "in repeated", "out"]
Axes = tuple[Side | None, ...]
Couple = Callable[[keras.layers.Layer, ChannelIds, IntArray, IntArray], None]
NarrowCall = Callable[[Any, Any, BoolArray, BoolArray], tuple[Any, Any]]


class NotUnderstood(Exception):
    """A call that a rule cannot read; what touches it is never cut."""


@dataclass(frozen=True)
class Channels:
    """Stands for a tensor while the graph is read.

    Attributes:
        ids: Of the channels along its last axis [width].
        rank: Of the tensor.
    """

    ids: IntArray
    rank: int


@dataclass(frozen=True)
class Site:
    """One call of a layer as a rule sees it.

    Attributes:
        call: Which; `call.layer` and the symbolic outputs' shapes.
        args: Recorded arguments, Channels in place of tensors.
        kwargs: Likewise.
        inputs: The Channels among them, in order.
        ids: Where to couple ids or get new ones.
        before: What this layer made when it was called before, or None.
        freeze: (reason, ids): these must stay.
    """

    call: Call
    args: Any
    kwargs: Any
    inputs: list[Channels]
    ids: ChannelIds
    before: IntArray | None
    freeze: Callable[[str, IntArray], None]

    def argument(self, position: int, name: str, default: Any = None) -> Any:
        """Returns an argument given by position or by name."""
        if len(self.args) > position:
            return self.args[position]
        return self.kwargs.get(name, default)


@dataclass(frozen=True)
class LayerRule:
    """How a layer class treats channels.

    Attributes:
        role: A "mixer" (Dense) reads all channels and makes new ones; a "follower"
            (BatchNormalization) has weights per channel; the rest is "passive".
        weight_axes: Attribute of a weight -> which channels its axes run along: "in",
            "out", or None; aligned with the last axes of the weight. "in of group" is
            the first group's share of the input channels, "in repeated" has each
            several times.
        width_key: Config entry that holds the number of output channels.
        channels: site -> ids of the output [width]; None keeps those of the input. Not
            for mixers, whose outputs are new. May raise NotUnderstood.
        couple: (layer, ids, input ids, output ids): unites what a mixer ties together.
        fixed: layer -> why its output channels must not be cut, or None if they may.
        unread: layer -> why it is not understood at all, or None if it is.
        quiet: Whether a fixed layer goes without mention where nothing was to be cut
            anyway, as a final softmax does.
        several: Whether it may be called with several tensors.
        narrow: (config, kept inputs, kept outputs): edits the config of the shrunk
            layer, where `width_key` does not say it.
        narrow_call: (args, kwargs, kept inputs, kept outputs) -> the arguments of the
            shrunk call, for operators that have widths among them.
    """

    role: Literal["mixer", "follower", "passive"]
    weight_axes: Mapping[str, Axes] = field(default_factory=dict)
    width_key: str | None = None
    channels: Callable[[Site], IntArray] | None = None
    couple: Couple | None = None
    fixed: Callable[[keras.layers.Layer], str | None] | None = None
    unread: Callable[[keras.layers.Layer], str | None] | None = None
    quiet: bool = True
    several: bool = False
    narrow: Callable[[dict[str, Any], BoolArray, BoolArray], None] | None = None
    narrow_call: NarrowCall | None = None

    def why_fixed(self, layer: keras.layers.Layer) -> str | None:
        """Returns why this layer's output channels must stay, or None."""
        return self.fixed(layer) if self.fixed else None

    def why_unread(self, layer: keras.layers.Layer) -> str | None:
        """Returns why this layer is not understood, or None."""
        return self.unread(layer) if self.unread else None

    @property
    def is_traced(self) -> bool:
        """Whether cutting channels changes the layer itself, or its call."""
        edits = self.narrow is not None or self.narrow_call is not None
        return self.role != "passive" or edits

    @property
    def kernels(self) -> list[str]:
        """Attributes of the weights that join every input with every output."""
        return [
            attribute
            for attribute, axes in self.weight_axes.items()
            if "out" in axes and any(side and side != "out" for side in axes)
        ]


def padded(site: Site, left: int, right: int) -> IntArray:
    """Adds channels of zeros at both ends, as parameter-free shortcuts do.

    Returns:
        Ids of the output; the same ones when the layer is called again.
    """
    if site.before is not None:
        return site.before
    return np.concatenate([
        site.ids.fresh(left),
        site.inputs[0].ids,
        site.ids.fresh(right),
    ])


def narrowed_padding(left: int, right: int, kept: BoolArray) -> tuple[int, int]:
    """Returns how many of the padded channels stay, at either end."""
    last = kept[kept.size - right :]
    return int(np.count_nonzero(kept[:left])), int(np.count_nonzero(last))


def channels_last(layer: keras.layers.Layer) -> str | None:
    """Returns why a layer's channel axis is not the last one, or None if it is."""
    if getattr(layer, "data_format", "channels_last") in {"channels_last", None}:
        return None
    return "it reads channels_first, expected channels_last"


def always(reason: str) -> Callable[[keras.layers.Layer], str | None]:
    """Returns a `fixed` or `unread` that gives one reason for every layer."""
    return lambda layer: reason
