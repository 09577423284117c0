"""Trained networks in files: .keras, .h5, or the folder of a SavedModel.

A file is judged by what it says of itself before TensorFlow is loaded; what it holds is
judged when it is loaded, against the images it is to be used on. Files that bring code
of their own (Lambda) are refused: loading one would run it.
"""

from __future__ import annotations

import json
import os
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ENDINGS = (".keras", ".h5", ".hdf5")
MEMBERS = {"metadata.json", "config.json", "model.weights.h5"}
CODE = {"Lambda", "__lambda__"}
"""What configs call functions that are stored as bytes."""
SAVE = "save it with tf_keras as a .keras file"


def is_path(name: str) -> bool:
    """Returns whether a model's name is a path: a / in it, or a known ending."""
    return "/" in name or os.sep in name or name.lower().endswith(ENDINGS)


def check(name: str) -> None:
    """Judges a file without TensorFlow.

    Raises:
        ValueError: If it is not there, is no whole model file, is one of Keras 3, or
            brings code.
    """
    path = Path(name)
    if path.is_dir():
        _check_folder(path)
    elif not path.is_file():
        raise ValueError(
            f"model: there is no {name}, expected a .keras or .h5 file, the folder of "
            "a SavedModel, or a network's name"
        )
    elif path.suffix.lower() == ".keras":
        _check_archive(path)
    elif path.suffix.lower() in ENDINGS:
        _check_h5(path)
    else:
        raise ValueError(
            f"model: got {name}, expected a file that ends in {', '.join(ENDINGS)}, or "
            "the folder of a SavedModel"
        )


def _check_folder(path: Path) -> None:
    if not (path / "saved_model.pb").is_file():
        raise ValueError(
            f"model: {path} is no SavedModel, expected {path}/saved_model.pb"
        )
    metadata = path / "keras_metadata.pb"
    if not metadata.is_file():
        raise ValueError(
            f"model: {path} was not saved by Keras (it lacks {metadata.name}), its "
            f"layers cannot be cut: {SAVE}"
        )
    content = metadata.read_bytes()
    if any(f'"class_name": "{name}"'.encode() in content for name in CODE):
        raise _brings_code(path)


def _check_archive(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            missing = MEMBERS - set(archive.namelist())
            bad = archive.testzip()
            if missing or bad is not None:
                raise ValueError(bad or f"no {min(missing)}")
            metadata = json.loads(archive.read("metadata.json"))
            config = json.loads(archive.read("config.json"))
            version = str(metadata.get("keras_version", ""))
    except (ValueError, AttributeError, zipfile.BadZipFile, zlib.error) as error:
        raise _damaged(path, error) from None
    _check_content(path, version, config)


def _check_h5(path: Path) -> None:
    import h5py

    try:
        with h5py.File(path) as file:
            version = _text(file.attrs.get("keras_version"))
            config = json.loads(_text(file.attrs["model_config"]))
    except KeyError:
        raise ValueError(
            f"model: {path} holds weights and no model, expected what model.save("
            f"'{path.name}') writes"
        ) from None
    except (OSError, ValueError) as error:
        raise _damaged(path, error) from None
    _check_content(path, version, config)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _check_content(path: Path, version: str, config: Any) -> None:
    if version.startswith("3"):
        raise ValueError(
            f"model: {path} was saved by Keras {version}, expected tf_keras (Keras 2): "
            "build it with `import tf_keras as keras` or under TF_USE_LEGACY_KERAS=1, "
            "set its weights, and save it again"
        )
    if CODE & set(_class_names(config)):
        raise _brings_code(path)


def _class_names(config: Any) -> Iterator[Any]:
    if isinstance(config, dict):
        yield str(config.get("class_name"))
        activation = config.get("activation")
        if isinstance(activation, dict) and set(activation) == {"value"}:
            yield "__lambda__"  # Stored as its bytes alone.
        config = list(config.values())
    if isinstance(config, list):
        for item in config:
            yield from _class_names(item)


def _brings_code(path: Path) -> ValueError:
    return ValueError(
        f"model: {path} holds a Lambda, code that loading it would run: express it by "
        "layers or activations of Keras (Rescaling, relu ...) and save it again"
    )


def _damaged(path: Path, error: Exception) -> ValueError:
    return ValueError(
        f"model: {path} is no whole model file ({error}), expected what model.save "
        "writes: get it anew"
    )


def load(name: str, input_shape: Sequence[int], num_classes: int) -> Any:
    """Loads a network at its weights.

    Args:
        name: Path, see `check`.
        input_shape: Of one image.
        num_classes: Of the images.

    Returns:
        The model, not compiled.

    Raises:
        ValueError: If it cannot be loaded, or is not made for such images.
    """
    check(name)
    import tf_keras as keras
    from tf_keras.src.saving.serialization_lib import SafeModeScope

    try:
        # Formats older than .keras know no safe mode of their own.
        with SafeModeScope(True):
            model = keras.models.load_model(name, compile=False)
    except Exception as error:  # Keras has no common class for what a file may lack.
        reason = (str(error).strip() or repr(error)).splitlines()[0]
        raise ValueError(
            f"model: {name} cannot be loaded ({reason:.200}): expected a network of "
            f"tf_keras' own layers; {SAVE}"
        ) from None
    _check_fit(name, model, tuple(input_shape), num_classes)
    return model


def _check_fit(name: str, model: Any, shape: tuple[int, ...], classes: int) -> None:
    inputs = getattr(model, "inputs", None) or []
    outputs = getattr(model, "outputs", None) or []
    if not inputs:
        raise ValueError(
            f"model: {name} has no graph that can be read, it is a subclassed model or "
            "a Sequential saved before it knew its input: express it as "
            "keras.Model(inputs, outputs), or begin it with keras.Input, and save it "
            "again"
        )
    if len(inputs) != 1 or len(outputs) != 1:
        raise ValueError(
            f"model: {name} has {len(inputs)} inputs and {len(outputs)} outputs that "
            "can be read, expected a functional or Sequential model with one of each"
        )
    if not inputs[0].dtype.is_floating:
        raise ValueError(
            f"model: {name} takes {inputs[0].dtype.name}, expected floats: begin it "
            "with keras.Input(shape) and save it again"
        )
    taken, given = tuple(inputs[0].shape[1:]), tuple(outputs[0].shape[1:])
    if not inputs[0].shape[1:].is_compatible_with(shape):
        remedy = "--image_size=" + ",".join(map(str, taken[:2]))
        fits = len(taken) == 3 and taken[2] == shape[2] and None not in taken
        raise ValueError(
            f"model: {name} takes images {_by(taken)}, the dataset's are {_by(shape)}: "
            + (f"resize them, {remedy}" if fits else "choose another dataset or model")
        )
    if given != (classes,):
        raise ValueError(
            f"model: {name} gives {_by(given)} outputs, the dataset has {classes} "
            "classes: choose the dataset it was trained on, or change its last layer"
        )


def _by(shape: tuple[int | None, ...]) -> str:
    return "x".join(map(str, shape)) or "no"
