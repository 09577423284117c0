"""LiteRT: a Keras model as a .tflite file, and such a file run on arrays."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Generator
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf
import tf_keras as keras

from network_pruning.graph import Call, at_rest, leaf_layers, replay
from network_pruning.twins import Twins
from network_pruning.types import FloatArray

log = logging.getLogger(__name__)

Run = Callable[[tf.Tensor], tf.Tensor]
_HALVES = ("float16", "bfloat16")
_NOISY_LOGGERS = ("absl", "tensorflow")


def to_tflite(
    model: keras.Model, int8: bool = False, representative: FloatArray | None = None
) -> bytes:
    """Converts a model to the content of a .tflite file of batch size 1.

    The same weights under the same layer names give the same bytes. Zeros are stored
    like other values; but constants of one shape that are equal, for int8 once they
    are quantised, are stored once.

    Args:
        model: One input, one output.
        int8: Whether weights and activations become int8; input and output stay float.
        representative: Inputs [n, *input_shape] that calibrate int8; 50 to 100 do.

    Returns:
        The file's content.

    Raises:
        ValueError: If int8 lacks representative inputs, the model has several inputs
            or outputs, or LiteRT knows no way to express it.
    """
    if int8 and (representative is None or not len(representative)):
        raise ValueError("int8: got no representative inputs, expected [n, ...].")
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise ValueError(
            f"{model.name}: no LiteRT form for {len(model.inputs)} inputs and "
            f"{len(model.outputs)} outputs, expected one of each."
        )
    if int8 and (recurrent := _recurrent(model)):
        # LiteRT's quantiser ends the process where there is recurrence.
        raise ValueError(f"{model.name}: no int8 form for the recurrent {recurrent}.")
    with _quiet():
        try:
            run = _runner(model)  # Held: a trace alone keeps no variable alive.
            converter = _converter(model, run)
            if int8:
                _quantize(converter, np.asarray(representative, np.float32))
            return converter.convert()
        except Exception as error:  # The converter has no common class of its own.
            message = f"{model.name}: no LiteRT form: {_reason(error)}"
            raise ValueError(message) from error


def _reason(error: Exception) -> str:
    """Returns the line of an error that says what is wrong."""
    lines = str(error).strip().splitlines() or [repr(error)]
    # What TensorFlow raises while it traces comes last, behind the places in the code.
    return lines[-1 if lines[0] == "in user code:" else 0].strip()


def _recurrent(model: keras.Model) -> str | None:
    """Returns the name of a recurrent layer; None where there is none."""
    kinds = keras.layers.RNN, keras.layers.Bidirectional
    for layer in model._flatten_layers():
        if isinstance(layer, kinds):
            return layer.name
    return None


class LiteModel:
    """A .tflite file, loaded; call it on arrays.

    Attributes:
        threads: Number of threads LiteRT may use.
    """

    def __init__(self, content: bytes, threads: int = 1) -> None:
        self.threads = threads
        with _quiet():
            self._interpreter = _interpreter(content, threads)
        self._input = self._interpreter.get_input_details()[0]["index"]
        self._output = self._interpreter.get_output_details()[0]["index"]

    def set(self, example: npt.NDArray[np.float32]) -> None:
        """Loads the input of `invoke`.

        Args:
            example: [1, *input_shape].
        """
        self._interpreter.set_tensor(self._input, example)

    def invoke(self) -> None:
        """Runs the network once, on what `set` has loaded."""
        self._interpreter.invoke()

    def __call__(self, x: FloatArray) -> npt.NDArray[np.float32]:
        """Runs the network on examples, one after the other.

        Args:
            x: [n, *input_shape].

        Returns:
            Outputs [n, ...].
        """
        outputs = []
        for example in np.asarray(x, np.float32):
            self.set(example[None])
            self.invoke()
            outputs.append(self._interpreter.get_tensor(self._output))
        return np.concatenate(outputs)


def run(content: bytes, x: FloatArray) -> npt.NDArray[np.float32]:
    """Runs the content of a .tflite file.

    Args:
        content: What `to_tflite` has returned.
        x: [n, *input_shape].

    Returns:
        Outputs [n, ...].
    """
    return LiteModel(content)(x)


def _converter(model: keras.Model, run: Run) -> tf.lite.TFLiteConverterV2:
    tensor = model.inputs[0]
    spec = tf.TensorSpec((1, *tensor.shape[1:]), tensor.dtype, model.input_names[0])
    forward = tf.function(run)
    # Without the model as trackable object the variables are frozen at once; with it
    # the converter saves and loads a SavedModel first: twice to four times the time.
    return tf.lite.TFLiteConverter.from_concrete_functions([
        forward.get_concrete_function(spec)
    ])


def _runner(model: keras.Model) -> Run:
    """Returns what runs a model: of mixed precision in float32, as LiteRT has to."""
    layers = [layer for _, layer in leaf_layers(model)]
    if all(layer.compute_dtype not in _HALVES for layer in layers):
        return lambda x: model(x, training=False)
    twins = Twins(tf.float32)

    def apply(call: Call, args: Any, kwargs: Any) -> Any:
        return twins(call, args, at_rest(call, kwargs))

    replay(model, tf.zeros((1, *model.inputs[0].shape[1:])), apply)  # Makes the twins.
    return lambda x: replay(model, x, apply)


def _quantize(
    converter: tf.lite.TFLiteConverterV2, inputs: npt.NDArray[np.float32]
) -> None:
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([x[None]] for x in inputs)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]


def _interpreter(content: bytes, threads: int) -> Any:
    litert = _litert()
    kinds = litert.OpResolverType
    try:
        return _allocated(litert, content, threads, kinds.AUTO)
    except RuntimeError as error:
        # XNNPACK refuses an int8 file in which an activation was always zero.
        log.info("LiteRT without its default delegate: %s", error)
        plain = kinds.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        return _allocated(litert, content, threads, plain)


def _allocated(litert: Any, content: bytes, threads: int, kind: Any) -> Any:
    interpreter = litert.Interpreter(
        model_content=content,
        num_threads=threads,
        experimental_op_resolver_type=kind,
    )
    interpreter.allocate_tensors()
    return interpreter


def _litert() -> ModuleType:
    try:
        return importlib.import_module("ai_edge_litert.interpreter")
    except ImportError:
        return importlib.import_module("tensorflow.lite.python.interpreter")


@contextlib.contextmanager
def _quiet() -> Generator[None, None, None]:
    """Hides what the converter tells Python's loggers and, from C++, stderr."""
    loggers = [logging.getLogger(name) for name in _NOISY_LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with _stderr_to_nowhere(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextlib.contextmanager
def _stderr_to_nowhere() -> Generator[None, None, None]:
    sys.stderr.flush()
    saved = os.dup(2)
    with tempfile.TemporaryFile() as sink:
        os.dup2(sink.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(saved, 2)
            os.close(saved)
