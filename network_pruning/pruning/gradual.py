"""Gradual weight pruning while training: the one door to tfmot.

The hidden kernels (never those of the output layers) are wrapped in tfmot's
PruneLowMagnitude, which counts the training steps and renews the masks by a schedule.
All state is in `model.weights`, so a checkpoint of them resumes exactly.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tf_keras as keras

from network_pruning.graph import has_graph, leaf_layers
from network_pruning.pruning import masks as arithmetic
from network_pruning.pruning import weights
from network_pruning.types import FloatArray

logger = logging.getLogger(__name__)
PREFIX = "prune_low_magnitude_"
"""What tfmot puts before the name of a layer it wraps."""


def wrap(
    model: keras.Model,
    sparsity: float,
    *,
    begin_step: int,
    end_step: int,
    frequency: int = 100,
    schedule: str = "polynomial",
    initial_sparsity: float = 0.0,
    power: float = 3,
    block_size: tuple[int, int] = (1, 1),
    m_by_n: tuple[int, int] | None = None,
) -> keras.Model:
    """Copies a network, its hidden kernels set up to be pruned while it trains.

    In the train step, call `advance(wrapped)` after the optimiser, then `strip`. The
    sparsity at step t of the polynomial schedule is
    s_f + (s_0 - s_f) (1 - (t - begin) / (end - begin))^power; M. Zhu and S. Gupta, "To
    Prune, or Not to Prune", ICLR workshop 2018, equation 1.

    Args:
        model: Functional or Sequential tf_keras model; left as it is.
        sparsity: Share of each kernel to remove in the end, in [0, 1).
        begin_step: First training step (the first is 1) that renews the masks.
        end_step: Last one, brought down to begin_step plus a multiple of frequency, as
            only such steps renew masks.
        frequency: Steps from one renewal to the next.
        schedule: "polynomial" rises to the sparsity, "constant" begins with it.
        initial_sparsity: Of the polynomial schedule.
        power: Of the polynomial schedule.
        block_size: Rows and columns of the blocks removed as one.
        m_by_n: (2, 4) zeroes 2 of every 4 consecutive inputs of a unit, from step 1
            on; sparsity must be their ratio.

    Returns:
        A model of the same weights; it loads only where tfmot is, so strip it.

    Raises:
        ValueError: If an argument is out of range or nothing can be pruned.
    """
    from tensorflow_model_optimization.sparsity import keras as tfmot

    options = {"initial_sparsity": initial_sparsity, "power": power}
    plan = _schedule(schedule, sparsity, begin_step, end_step, frequency, options)
    _check_pattern(sparsity, block_size, m_by_n)
    pattern = {"block_size": block_size, "sparsity_m_by_n": m_by_n}
    hidden = {id(layer) for layer in weights.hidden_mixers(model).values()}

    def remade(layer: keras.layers.Layer) -> keras.layers.Layer:
        copy = type(layer).from_config(layer.get_config())
        if id(layer) not in hidden:
            return copy
        try:
            return tfmot.prune_low_magnitude(copy, pruning_schedule=plan, **pattern)
        except ValueError:
            kind = type(layer).__name__
            logger.warning("%s stays dense: tfmot does not prune %s.", layer.name, kind)
            return copy

    wrapped = _clone(model, remade)
    if not list(_wrappers(wrapped)):
        raise ValueError(
            f"model {model.name!r} has no hidden layer to prune, expected at least one "
            "before the output layer, of a kind that tfmot knows."
        )
    counters = [wrapper.pruning_step for _, wrapper in _wrappers(wrapped)]
    keras.backend.batch_set_value([(counter, 0) for counter in counters])
    return wrapped


def advance(wrapped: keras.Model) -> None:
    """Holds the pruned weights at zero; call it after every optimiser step.

    It is what tfmot's UpdatePruningStep does at the end of an epoch. The steps
    themselves are counted by the wrappers, one for each call with training=True.

    Args:
        wrapped: What `wrap` made.
    """
    for _, wrapper in _wrappers(wrapped):
        wrapper.pruning_obj.weight_mask_op()


def strip(wrapped: keras.Model, *, check: bool = True) -> keras.Model:
    """Takes the wrappers off.

    Args:
        wrapped: What `wrap` made, trained to the end of its schedule; its masks are
            applied once more.
        check: Whether to judge the sparsity; off for a look in mid-schedule.

    Returns:
        An ordinary model that shares no weight with the wrapped one, zeros in place.

    Raises:
        ValueError: If a kernel has not reached its sparsity.
    """
    advance(wrapped)
    if check:
        _check_sparsity(wrapped)

    def bare(layer: keras.layers.Layer) -> keras.layers.Layer:
        inner = layer.layer if _is_wrapper(layer) else layer
        return type(inner).from_config(inner.get_config())

    return _clone(wrapped, bare)


def _check_sparsity(wrapped: keras.Model) -> None:
    for path, wrapper in _wrappers(wrapped):
        kernel = wrapper.pruning_vars[0][0].numpy()
        excess, requested = _excess(wrapper, kernel)
        if excess > 0:
            raise ValueError(
                f"{path}: got {excess} weights or blocks more than sparsity "
                f"{requested:g} allows after {int(wrapper.pruning_step)} steps, "
                "expected a network trained to the end_step of its schedule."
            )
        share = _zeros(kernel)
        logger.info("%s: sparsity %.6f of %g requested", path, share, requested)
        if share < requested - 1 / kernel.size:
            logger.warning(
                "%s: sparsity %.4f, not the %g requested: its shape %s is no multiple "
                "of the blocks.",
                *(path, share, requested, kernel.shape),
            )


def achieved(model: keras.Model) -> dict[str, float]:
    """Returns the share of zeros by kernel path, of a wrapped or a stripped model.

    Raises:
        ValueError: If the model has no graph to walk.
    """
    wrapped = {
        f"{path}/kernel": _zeros((weight * mask).numpy())
        for path, wrapper in _wrappers(model)
        for weight, mask, _ in wrapper.pruning_vars
    }
    return wrapped or weights.achieved_sparsity(model)


def _zeros(kernel: FloatArray) -> float:
    return 1 - np.count_nonzero(kernel) / kernel.size


def _excess(wrapper: Any, kernel: FloatArray) -> tuple[int, float]:
    """Counts what a kernel keeps beyond its schedule, by tfmot's own rounding.

    Returns:
        Surplus of nonzero blocks (of the fullest m-by-n block), and the sparsity asked.
    """
    if wrapper.sparsity_m_by_n:
        m, n = wrapper.sparsity_m_by_n
        by_input = np.moveaxis(kernel, -1, 0)
        by_input = by_input.reshape(-1, by_input.shape[-1])
        fullest = _nonzeros(by_input, (1, n)).max()
        return int(fullest) - (n - m), m / n
    plan = wrapper.pruning_schedule
    polynomial = hasattr(plan, "final_sparsity")
    sparsity = plan.final_sparsity if polynomial else plan.target_sparsity
    blocks = _nonzeros(kernel.reshape(-1, kernel.shape[-1]), wrapper.block_size) > 0
    kept = np.round(np.float32(blocks.size) * (np.float32(1) - np.float32(sparsity)))
    return int(np.count_nonzero(blocks)) - max(int(kept), 1), sparsity


def _nonzeros(matrix: FloatArray, block: tuple[int, int]) -> FloatArray:
    """Returns the number of nonzeros in each block; the edge is padded with zeros."""
    rows, columns = matrix.shape
    padding = [(0, -rows % block[0]), (0, -columns % block[1])]
    padded = np.pad(matrix != 0, padding)
    height, width = padded.shape
    return padded.reshape(
        height // block[0], block[0], width // block[1], block[1]
    ).sum(axis=(1, 3))


def _is_wrapper(layer: keras.layers.Layer) -> bool:
    return hasattr(layer, "pruning_vars")


def _wrappers(model: keras.Model) -> list[tuple[str, Any]]:
    """Returns (path without tfmot's prefix, wrapper) in graph order."""
    return [(p, layer) for p, layer in _bare_paths(model) if _is_wrapper(layer)]


def _bare_paths(model: keras.Model) -> Iterator[tuple[str, keras.layers.Layer]]:
    for path, layer in leaf_layers(model):
        outer, slash, name = path.rpartition("/")
        yield outer + slash + name.removeprefix(PREFIX), layer


def _clone(
    model: keras.Model, remade: Callable[[keras.layers.Layer], keras.layers.Layer]
) -> keras.Model:
    """Returns a clone, each layer through `remade`, with the weights copied."""
    made: dict[int, keras.layers.Layer] = {}

    def clone(layer: keras.layers.Layer) -> keras.layers.Layer:
        if id(layer) not in made:
            nested = has_graph(layer)
            made[id(layer)] = rebuilt(layer) if nested else remade(layer)
        return made[id(layer)]

    def rebuilt(inner: keras.Model) -> keras.Model:
        return keras.models.clone_model(inner, clone_function=clone)

    copy = rebuilt(model)
    targets = dict(_bare_paths(copy))
    for path, layer in _bare_paths(model):
        targets[path].set_weights(layer.get_weights())
    return copy


def _schedule(
    name: str,
    sparsity: float,
    begin_step: int,
    end_step: int,
    frequency: int,
    options: dict[str, float],
) -> Any:
    from tensorflow_model_optimization.sparsity import keras as tfmot

    arithmetic.check_sparsity(sparsity)
    arithmetic.check_sparsity(options["initial_sparsity"])
    if name not in {"polynomial", "constant"}:
        raise ValueError(
            f"schedule: got {name!r}, expected 'polynomial' or 'constant'."
        )
    if not 1 <= frequency <= end_step - begin_step or begin_step < 0:
        raise ValueError(
            f"begin_step, end_step, frequency: got {begin_step}, {end_step}, "
            f"{frequency}, expected 0 <= begin_step and 1 <= frequency <= end_step - "
            "begin_step: lower the frequency or train longer."
        )
    end_step -= (end_step - begin_step) % frequency
    steps = {"begin_step": begin_step, "end_step": end_step, "frequency": frequency}
    if name == "constant":
        return tfmot.ConstantSparsity(sparsity, **steps)
    return tfmot.PolynomialDecay(final_sparsity=sparsity, **options, **steps)


def _check_pattern(
    sparsity: float, block_size: tuple[int, int], m_by_n: tuple[int, int] | None
) -> None:
    if len(block_size) != 2 or min(block_size) < 1:
        raise ValueError(
            f"block_size: got {block_size!r}, expected two positive integers."
        )
    if m_by_n is None:
        return
    m, n = m_by_n
    if not 0 < m < n or tuple(block_size) != (1, 1) or abs(sparsity - m / n) > 1e-9:
        raise ValueError(
            f"m_by_n: got {m_by_n!r} with sparsity {sparsity!r} and block_size "
            f"{block_size!r}, expected 0 < m < n, sparsity m / n and no blocks."
        )
