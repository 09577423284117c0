"""Activation records: what a trained network leaves behind instead of its data.

For every class the mean of chosen layers' activations before the activation function,
and in some form their covariance; and, where asked for, the same of the coefficients of
spectra. R. Lopes, S. Fenu, T. Starner, "Data-Free Knowledge Distillation for Deep
Neural Networks", 2017. BatchNormalization's statistics need no record: they are in the
network.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tf_keras as keras

from network_pruning.classifiers import check_fits
from network_pruning.graph import fingerprint, leaf_layers
from network_pruning.inversion import recording, spectral
from network_pruning.inversion.moments import FORMS, Form, Law
from network_pruning.inversion.parts import (
    Basis,
    Block,
    Pixels,
    Scales,
    Scope,
    Spectrum,
)
from network_pruning.inversion.tallies import Unfinished
from network_pruning.ranges import check_whole
from network_pruning.runs import RunDir
from network_pruning.taps import check_layers, weighted_layers
from network_pruning.types import Dataset

VERSION = 1
AGAIN = "name the file that ActivationRecords.save wrote"
"""What to do about a file that holds none: it may be a good one of another kind."""


@dataclass(frozen=True, eq=False)
class ActivationRecords:
    """Per-class statistics of a network's activations.

    Attributes:
        fingerprint: Of the network, see `graph.fingerprint`.
        shapes: Shape of each layer's activation, by path, in graph order.
        scales: RMS of each layer's rectified activations, by path.
        counts: Images of each class [classes].
        form: What is kept of covariances: full (above 2000 entries lowrank), lowrank
            (leading eigenvectors, and the variances that they leave out), diag, mean.
        rank: Of lowrank.
        input_shape: Of one image.
        pixels: Of the images.
        blocks: Of all layers together, or one of each layer.
        spectra: Those asked for.
        multi_label: Whether an image may be of several classes: has attributes.
    """

    fingerprint: str
    shapes: dict[str, tuple[int, ...]]
    scales: Scales
    counts: npt.NDArray[np.int64]
    form: Form
    rank: int
    input_shape: tuple[int, ...]
    pixels: Pixels
    blocks: tuple[Block, ...]
    spectra: tuple[Spectrum, ...] = ()
    multi_label: bool = False

    @classmethod
    def from_data(
        cls,
        model: keras.Model,
        data: Dataset,
        layers: Sequence[str] | None = None,
        form: Form = "lowrank",
        rank: int = 150,
        joint: bool = True,
        spectra: Sequence[Scope] = (),
        basis: Basis = "weights",
        fraction: float = spectral.FRACTION,
        *,
        folder: str | os.PathLike[str] | None = None,
    ) -> ActivationRecords:
        """Takes records of a network on its training images.

        Args:
            model: Images -> logits.
            data: The training split is read, its labels too.
            layers: Paths; None: all dense and convolutional layers.
            form: See the class.
            rank: Of lowrank.
            joint: Whether layers share one law, which knows how they vary together.
            spectra: network, pairs, or both.
            basis: Of the spectra.
            fraction: Coefficients kept, as a share of the nodes.
            folder: Where a pass that is stopped is kept: the same call goes on from
                there, and ends with the same records; None keeps nothing.

        Returns:
            The records.

        Raises:
            ValueError: If a layer is unknown, an option out of range, an activation no
                number, or a class has no example.
        """
        check_fits(model, data)
        _check_options(form, rank, spectra, basis, fraction)
        paths = list(weighted_layers(model) if layers is None else layers)
        if not paths:
            raise ValueError("layers: got none, expected at least one to record")
        check_layers(model, paths)
        order = [path for path, _ in leaf_layers(model)]
        paths.sort(key=order.index)
        watch = recording.Watch(model, data, paths)
        groups = [paths] if joint else [[path] for path in paths]
        collections = [watch.block(group, form, rank) for group in groups]
        for scope in spectra:
            collections += watch.spectra(scope, basis, fraction)
        unfinished = None
        if folder is not None:
            asked = [paths, form, rank, joint, list(spectra), basis, fraction]
            mark = _mark(model, data, asked)
            unfinished = Unfinished(RunDir(folder), mark)
        counts, pixels, found = watch.collect(collections, unfinished)
        records = cls(
            fingerprint(model),
            watch.shapes,
            watch.scales,
            counts,
            form,
            rank,
            tuple(data.input_shape),
            pixels,
            tuple(each for each in found if isinstance(each, Block)),
            tuple(each for each in found if isinstance(each, Spectrum)),
            data.multi_label,
        )
        if unfinished is not None:
            unfinished.remove()
        return records

    @property
    def layers(self) -> tuple[str, ...]:
        """Paths, in graph order."""
        return tuple(self.shapes)

    @property
    def classes(self) -> int:
        """Their number."""
        return len(self.counts)

    @property
    def digest(self) -> str:
        """SHA-256 of all that is in them, hex."""
        content = hashlib.sha256()
        for name, array in sorted(_pack(self).items()):
            content.update(f"{name}{array.shape}{array.dtype.str}".encode())
            content.update(np.ascontiguousarray(array).tobytes())
        return content.hexdigest()

    @property
    def sizes(self) -> dict[str, int]:
        """Bytes of each part: of the blocks by layer or "joint", and of the spectra."""
        found = {_part(block): block.law.nbytes for block in self.blocks}
        for each in self.spectra:
            name = f"spectrum of {', '.join(each.layers)}"
            found[name] = each.law.nbytes + each.basis.nbytes
        return found

    @property
    def ranks(self) -> dict[str, int]:
        """Columns of each block's factor, named as in `sizes`.

        Where full was asked for more than 2 000 units, or of few images, it is less
        than the units.
        """
        return {_part(block): block.law.factor.shape[-1] for block in self.blocks}

    def check_model(self, model: keras.Model) -> None:
        """Judges whether these are the records of a network.

        Raises:
            ValueError: If they are of another one.
        """
        found = fingerprint(model)
        if found != self.fingerprint:
            raise ValueError(
                f"records: of another network ({self.fingerprint[:12]}) than "
                f"{model.name!r} ({found[:12]}): give the network they were taken of, "
                "or take records of this one"
            )

    def check_known(self, layers: Sequence[str]) -> None:
        """Judges whether layers were recorded.

        Raises:
            ValueError: If one was not.
        """
        for layer in layers:
            if layer not in self.shapes:
                raise ValueError(
                    f"records: no layer {layer!r} in them, expected one of "
                    f"{', '.join(self.layers)}: take records of it too"
                )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the records, whole or not at all.

        Args:
            path: Of the .npz.

        Raises:
            ValueError: If it has another ending.
        """
        path = Path(path)
        if path.suffix != ".npz":
            raise ValueError(f"records: got {path}, expected a path ending in .npz")
        RunDir(path.parent).write_arrays(path.name, _pack(self))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> ActivationRecords:
        """Reads what `save` wrote.

        Args:
            path: Of the .npz.

        Returns:
            The records.

        Raises:
            ValueError: If there is no such file, or it is no .npz, damaged, holds
                pickles, or is of a later version.
        """
        path = Path(path)
        if not path.is_file():
            raise ValueError(f"records: no file {path}: take them with from_data")
        if path.suffix != ".npz":
            raise ValueError(
                f"records: got {path}, expected the .npz that ActivationRecords.save "
                "or --procedure=compute_stats wrote"
            )
        run = RunDir(path.parent)
        arrays = run.read_arrays(path.name, AGAIN)
        try:
            return _unpack(arrays)
        except _Later as error:
            raise ValueError(f"{path} {error}") from None
        except (KeyError, ValueError, TypeError, IndexError) as error:
            why = f"expected records, {error}"
            raise run.damaged(path.name, why, AGAIN) from None


def _part(block: Block) -> str:
    return "joint" if len(block.layers) > 1 else block.layers[0]


def _mark(model: keras.Model, data: Dataset, asked: Sequence[Any]) -> str:
    """Returns what tells a pass over training images from others."""
    told = [fingerprint(model), data.fingerprint, recording.BATCH, *asked]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]


class _Later(ValueError):
    """A file of a version that is not known yet."""


def _check_options(
    form: str, rank: int, spectra: Sequence[str], basis: str, fraction: float
) -> None:
    if form not in FORMS:
        raise ValueError(f"form: got {form!r}, expected one of {', '.join(FORMS)}")
    check_whole({"rank": rank}, 1)
    for scope in spectra:
        if scope not in {"network", "pairs"}:
            raise ValueError(f"spectra: got {scope!r}, expected network or pairs")
    if basis not in {"weights", "pca"}:
        raise ValueError(f"basis: got {basis!r}, expected weights or pca")
    if not 0 < fraction <= 1:
        raise ValueError(f"fraction: got {fraction}, expected more than 0, at most 1")


def _pack(records: ActivationRecords) -> dict[str, npt.NDArray[Any]]:
    pixels = records.pixels
    arrays: dict[str, npt.NDArray[Any]] = {
        "version": np.array(VERSION),
        "fingerprint": np.array(records.fingerprint),
        "layers": np.array(records.layers),
        "scales": np.array([records.scales[path] for path in records.layers]),
        "counts": records.counts,
        "form": np.array(records.form),
        "rank": np.array(records.rank),
        "input_shape": np.array(records.input_shape),
        "input_range": np.array([pixels.low, pixels.high]),
        "pixel_mean": pixels.mean,
        "pixel_sd": pixels.sd,
        "blocks": np.array(len(records.blocks)),
        "spectra": np.array(len(records.spectra)),
    }
    if records.multi_label:  # Else as in files that know nothing of it.
        arrays["multi_label"] = np.array(True)
    for i, shape in enumerate(records.shapes.values()):
        arrays[f"shape_{i}"] = np.array(shape)
    for i, block in enumerate(records.blocks):
        arrays[f"block_{i}_layers"] = np.array(block.layers)
        arrays |= _pack_law(f"block_{i}", block.law)
    for i, each in enumerate(records.spectra):
        name = f"spectrum_{i}"
        arrays[f"{name}_what"] = np.array([each.scope, each.kind])
        arrays[f"{name}_layers"] = np.array(each.layers)
        arrays[f"{name}_basis"] = each.basis
        for j, grid in enumerate(each.grids):
            arrays[f"{name}_grid_{j}"] = np.array(grid, np.int64)
        arrays |= _pack_law(name, each.law)
    return arrays


def _pack_law(name: str, law: Law) -> dict[str, npt.NDArray[Any]]:
    return {
        f"{name}_mean": law.mean,
        f"{name}_factor": law.factor,
        f"{name}_residual": law.residual,
    }


def _unpack(arrays: dict[str, npt.NDArray[Any]]) -> ActivationRecords:
    version = int(arrays["version"])
    if version > VERSION:
        raise _Later(
            f"is of version {version}, expected at most {VERSION}: install a later "
            "release of this package"
        )
    layers = _words(arrays["layers"])
    low, high = map(float, arrays["input_range"])
    return ActivationRecords(
        str(arrays["fingerprint"]),
        {path: _ints(arrays[f"shape_{i}"]) for i, path in enumerate(layers)},
        dict(zip(layers, map(float, arrays["scales"]), strict=True)),
        arrays["counts"],
        _form(str(arrays["form"])),
        int(arrays["rank"]),
        _ints(arrays["input_shape"]),
        Pixels(low, high, arrays["pixel_mean"], arrays["pixel_sd"]),
        tuple(
            Block(
                _words(arrays[f"block_{i}_layers"]), _unpack_law(f"block_{i}", arrays)
            )
            for i in range(int(arrays["blocks"]))
        ),
        tuple(
            _spectrum(f"spectrum_{i}", arrays) for i in range(int(arrays["spectra"]))
        ),
        bool(arrays.get("multi_label", False)),
    )


def _spectrum(name: str, arrays: dict[str, npt.NDArray[Any]]) -> Spectrum:
    scope: Any
    kind: Any
    scope, kind = _words(arrays[f"{name}_what"])
    layers = _words(arrays[f"{name}_layers"])
    grids = tuple(_ints(arrays[f"{name}_grid_{j}"]) for j in range(len(layers)))
    basis = arrays[f"{name}_basis"]
    return Spectrum(scope, kind, layers, grids, basis, _unpack_law(name, arrays))


def _unpack_law(name: str, arrays: dict[str, npt.NDArray[Any]]) -> Law:
    return Law(*(arrays[f"{name}_{part}"] for part in ("mean", "factor", "residual")))


def _form(word: str) -> Form:
    _check_options(word, 1, (), "weights", 1.0)
    return word  # type: ignore[return-value]


def _words(array: npt.NDArray[Any]) -> tuple[str, ...]:
    return tuple(map(str, array))


def _ints(array: npt.NDArray[Any]) -> tuple[int, ...]:
    return tuple(map(int, array))
