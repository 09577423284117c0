"""The cost card: what any network costs and how well it does, in one record.

All but the latency is the same in every process. Sizes are those of the network alone,
without optimizer state, and include its layer names.
"""

from __future__ import annotations

import io
import json
import logging
import math
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tf_keras as keras

from network_pruning import graph
from network_pruning.classifiers import check_fits
from network_pruning.evaluation import metrics
from network_pruning.evaluation.latency import Latency, measure
from network_pruning.evaluation.macs import count_macs
from network_pruning.evaluation.predict import predict_split
from network_pruning.evaluation.sparse import gzipped_size
from network_pruning.evaluation.tflite import to_tflite
from network_pruning.types import SPLITS, Dataset, FloatArray

log = logging.getLogger(__name__)

CALIBRATION = 100
"""Examples that calibrate the int8 file."""
ANY_SIZE = 32
"""Side of the examples of a model that takes any size, where there are no data."""


@dataclass(frozen=True)
class CostCard:
    """What a network costs and how well it does.

    Attributes:
        params: Trainable weights.
        nonzeros: Nonzero entries among them.
        macs: Multiply-accumulates for one example; none if a layer has no rule.
        keras_bytes: Size of the .keras file.
        gzip_bytes: Size of its members, gzipped.
        tflite_bytes: Size of the float32 LiteRT file; none if there is no such form.
        tflite_int8_bytes: Size of the int8 LiteRT file; likewise.
        accuracy: In [0, 1]; this and the next three are none without data.
        cross_entropy: Mean, nats, no penalty.
        nll: Mean, nats.
        ece: 15 equal-width bins.
        latency: Timed values; none if not asked for, or if the model takes inputs of
            any size.
    """

    params: int
    nonzeros: int
    macs: int | None
    keras_bytes: int
    gzip_bytes: int
    tflite_bytes: int | None
    tflite_int8_bytes: int | None
    accuracy: float | None = None
    cross_entropy: float | None = None
    nll: float | None = None
    ece: float | None = None
    latency: Latency | None = None


@dataclass(frozen=True)
class Exports:
    """A network as the files it is delivered in.

    Attributes:
        keras: Content of the .keras file, without optimizer.
        tflite: Of the float32 LiteRT file; none if there is no such form.
        tflite_int8: Of the int8 LiteRT file; likewise.
    """

    keras: bytes
    tflite: bytes | None
    tflite_int8: bytes | None


def export(model: keras.Model, data: Dataset | None = None) -> Exports:
    """Converts a network to every form it is delivered in.

    Args:
        model: Images -> logits [n, classes].
        data: Its first training images calibrate int8; without it, uniform pixels in
            [0, 1] from a fixed seed do.

    Returns:
        The files.
    """
    calibration = _calibration(model, data)
    return Exports(
        keras=_archive(model),
        tflite=_converted(model),
        tflite_int8=_converted(model, int8=True, representative=calibration),
    )


def cost_card(
    model: keras.Model,
    data: Dataset | None = None,
    latency: bool = True,
    split: str = "test",
    exports: Exports | None = None,
) -> CostCard:
    """Weighs, counts and times a network; and judges it, given data.

    Args:
        model: Images -> logits [n, classes].
        data: Judges the network on `split` and calibrates int8 with its first training
            images. Without it no quality is filled in, and int8 is calibrated on
            uniform pixels in [0, 1] from a fixed seed.
        latency: Whether to time it; the only field that differs between runs.
        split: train, valid or test.
        exports: What `export` made of this model, to spare making it again.

    Returns:
        The card.

    Raises:
        ValueError: If the model has no graph to walk; or, given data, if it gives no
            single row of logits an image, or the data do not fit it or have no such
            split.
    """
    graph.check_walkable(model)
    if data is not None:
        check_fits(model, data)
        if split not in SPLITS:
            raise ValueError(f"split: got {split!r}, expected {', '.join(SPLITS)}.")
    exports = exports or export(model, data)
    tflite, int8 = exports.tflite, exports.tflite_int8
    return CostCard(
        params=count_params(model),
        nonzeros=count_nonzeros(model),
        macs=count_macs(model),
        keras_bytes=len(exports.keras),
        gzip_bytes=_gzipped_members(exports.keras),
        tflite_bytes=None if tflite is None else len(tflite),
        tflite_int8_bytes=None if int8 is None else len(int8),
        latency=_timed(model, tflite) if latency else None,
        **({} if data is None else _quality(model, data, split)),
    )


def _timed(model: keras.Model, tflite: bytes | None) -> Latency | None:
    if tflite is None:
        return None
    try:
        return measure(model, tflite)
    except ValueError as error:
        log.warning("no latency: %s", error)
        return None


def count_params(model: keras.Model) -> int:
    """Counts what is learnt.

    Args:
        model: Any built model.

    Returns:
        Entries of its weights, frozen ones too; moving statistics are not among them.
    """
    return sum(math.prod(w.shape) for w in graph.learnt_weights(model))


def count_nonzeros(model: keras.Model) -> int:
    """Counts the nonzero ones among what is learnt.

    Args:
        model: Any built model.

    Returns:
        Their number.
    """
    return sum(int(np.count_nonzero(w.numpy())) for w in graph.learnt_weights(model))


def keras_bytes(model: keras.Model) -> int:
    """Measures the .keras file of a network.

    Args:
        model: Any built model; its compilation is left out.

    Returns:
        Size in bytes.
    """
    return len(_archive(model))


def gzip_bytes(model: keras.Model) -> int:
    """Measures what gzip (level 6) makes of the members of the .keras file.

    Args:
        model: Any built model; its compilation is left out.

    Returns:
        Size in bytes; the same on every day, since the date of saving is left out.
    """
    return _gzipped_members(_archive(model))


def _quality(model: keras.Model, data: Dataset, split: str) -> dict[str, float]:
    logits, labels = predict_split(model, data, split)
    return {
        "accuracy": metrics.accuracy(logits, labels),
        "cross_entropy": metrics.cross_entropy(logits, labels),
        "nll": metrics.nll(logits, labels),
        "ece": metrics.ece(logits, labels),
    }


def _calibration(model: keras.Model, data: Dataset | None) -> FloatArray:
    if data is not None:
        images, _ = next(iter(data.batches("train", CALIBRATION)))
        return images.numpy()
    shape = (CALIBRATION, *(size or ANY_SIZE for size in model.inputs[0].shape[1:]))
    return np.random.default_rng(0).random(shape, np.float32)


def _converted(model: keras.Model, **options: Any) -> bytes | None:
    try:
        return to_tflite(model, **options)
    except ValueError as error:
        log.warning("%s", error)
        return None


def _archive(model: keras.Model) -> bytes:
    # The functional model over the same layers: compilation and optimizer stay behind.
    plain = keras.Model(model.inputs, model.outputs, name=model.name)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        plain.save(path)
        return path.read_bytes()


def _gzipped_members(archive: bytes) -> int:
    with zipfile.ZipFile(io.BytesIO(archive)) as file:
        members = {name: file.read(name) for name in sorted(file.namelist())}
    metadata = json.loads(members["metadata.json"])
    members["metadata.json"] = json.dumps({**metadata, "date_saved": ""}).encode()
    return gzipped_size(b"".join(members.values()))
