"""Dataclass <-> absl flags, and the door every command goes through.

A command is a frozen dataclass, one documented field per flag, judged in its
`__post_init__`; flags are generated from it, so a default exists once. Nothing here
loads TensorFlow before the work begins: `--help` and a wrong flag are answered at once.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import errno
import functools
import logging
import os
import re
import sys
import tempfile
import types
import typing
from collections.abc import Callable, Generator, Sequence
from typing import Any, TypeVar

from absl import app, flags

from network_pruning.criterion_flags import is_option

Config = TypeVar("Config")
Work = Callable[[Any], None]

USAGE = 2
"""What was asked for does not fit, whether that shows before the work or in it."""
FAILURE = 1
"""The work failed. A ValueError that means this says so as its `exit_code`."""
_CHATTER = re.compile(
    rb"oneDNN|cpu_feature_guard|cuda|CUDA|TensorRT|computation_placer|absl::InitializeLog"
    rb"|rebuild TensorFlow|TF-TRT|Unable to register|This TensorFlow binary"
)


def parse(config_class: type[Config], argv: Sequence[str]) -> Config:
    """Reads a config from a command line.

    Args:
        config_class: A frozen dataclass whose fields carry `metadata={"help": ...}`.
        argv: Program name, then flags.

    Returns:
        The config.

    Raises:
        flags.Error: If a flag is unknown, a value is unfit or a word is left over.
    """
    values = define_flags(config_class)
    rest = values(list(argv), known_only=False)
    if len(rest) > 1:
        raise flags.Error(
            f"got {' '.join(rest[1:])!r} after the flags, expected --name=value: "
            "write lists with commas and no spaces, booleans as --flag or --noflag"
        )
    given = {
        field.name: tuple(values[field.name].value)
        if field.metadata.get("repeated")
        else values[field.name].value
        for field in _fields(config_class)
    }
    try:
        return config_class(**given)
    except ValueError as error:
        raise flags.Error(str(error)) from None


def define_flags(config_class: type) -> flags.FlagValues:
    """Returns fresh flags, one for each field of the dataclass."""
    values = flags.FlagValues()
    hints = typing.get_type_hints(config_class)
    for field in _fields(config_class):
        _define(values, field.name, hints[field.name], field)
    return values


def _fields(config_class: Any) -> tuple[dataclasses.Field[Any], ...]:
    return dataclasses.fields(config_class)


def _define(
    values: flags.FlagValues, name: str, hint: Any, field: dataclasses.Field[Any]
) -> None:
    text = field.metadata["help"]
    inner, optional = _strip_optional(hint)
    if typing.get_origin(inner) is typing.Literal:
        choices = list(typing.get_args(inner))
        flags.DEFINE_enum(name, field.default, choices, text, flag_values=values)
    elif inner is bool:
        flags.DEFINE_boolean(name, field.default, text, flag_values=values)
    elif field.metadata.get("repeated"):
        flags.DEFINE_multi_string(name, field.default, text, flag_values=values)
    elif typing.get_origin(inner) is tuple:
        element = typing.get_args(inner)[0]
        flags.DEFINE(
            _TupleParser(element, optional),
            name,
            field.default,
            text,
            flag_values=values,
            serializer=None,
        )
    else:
        flags.DEFINE(
            _ScalarParser(inner, optional),
            name,
            field.default,
            text,
            flag_values=values,
        )


def _strip_optional(hint: Any) -> tuple[Any, bool]:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        inner = [arg for arg in typing.get_args(hint) if arg is not type(None)]
        return inner[0], True
    return hint, False


_NOUN = {int: "a whole number", float: "a number", str: "text"}


def _convert(kind: type, text: Any) -> Any:
    try:
        return kind(text)
    except (TypeError, ValueError):
        raise ValueError(f"got {text!r}, expected {_NOUN[kind]}") from None


class _ScalarParser(flags.ArgumentParser):
    def __init__(self, kind: type, optional: bool) -> None:
        super().__init__()
        self.kind, self.optional = kind, optional

    def parse(self, argument: Any) -> Any:
        if self.optional and argument in {None, "none"}:
            return None
        return _convert(self.kind, argument)

    def flag_type(self) -> str:
        return self.kind.__name__


class _TupleParser(flags.ArgumentParser):
    def __init__(self, kind: type, optional: bool) -> None:
        super().__init__()
        self.kind, self.optional = kind, optional

    def parse(self, argument: Any) -> tuple[Any, ...] | None:
        if isinstance(argument, tuple):
            return argument
        if self.optional and argument in {None, "none"}:
            return None
        words = [word.strip() for word in argument.split(",")]
        if "" in words:
            raise ValueError(
                f"got {argument!r}, expected values separated by single commas"
            )
        return tuple(_convert(self.kind, word) for word in words)

    def flag_type(self) -> str:
        return f"comma separated {self.kind.__name__}s"


def help_text(config_class: type, usage: str) -> str:
    """Returns the text of --help: the usage, then every flag and its default."""
    lines = [usage.strip(), "", "Flags:"]
    hints = typing.get_type_hints(config_class)
    for field in _fields(config_class):
        inner, _ = _strip_optional(hints[field.name])
        kind = ""
        if typing.get_origin(inner) is typing.Literal:
            kind = "|".join(typing.get_args(inner))
        lines.append(f"  --{field.name}={_show(field.default)}")
        lines.append(f"      {field.metadata['help']}" + (f" ({kind})" if kind else ""))
    return "\n".join(lines)


def _show(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(str(item) for item in value)
    return (
        str(value).lower() if isinstance(value, bool) or value is None else str(value)
    )


def run(
    config_class: type[Config],
    work: Callable[[Config], None],
    usage: str,
    check: Callable[[Config], None] = lambda config: None,
) -> None:
    """Runs a command: flags first, then the work, errors in one line each.

    Args:
        config_class: The command's flags.
        work: What it does; may import TensorFlow, quietly.
        usage: The first lines of --help.
        check: Judges what the flags name (a dataset, a file); must not load TensorFlow.
    """
    parser = functools.partial(_parse_or_exit, config_class, usage, check)
    app.run(functools.partial(_work_or_exit, work), flags_parser=parser)


def _parse_or_exit(
    config_class: type[Config],
    usage: str,
    check: Callable[[Config], None],
    argv: list[str],
) -> Config:
    flags.FLAGS(argv[:1])
    if {"--help", "-help", "-h", "--helpfull"} & set(argv[1:]):
        print(help_text(config_class, usage))
        sys.exit(0)
    try:
        config = parse(config_class, argv)
        check(config)
    except ModuleNotFoundError as error:
        fail(
            f"{error}: data/, models/ and experiments/ come with the checkout, "
            "install it with `pip install -e .` from there"
        )
    except (flags.Error, ValueError) as error:
        fail(_with_hint(str(error), config_class), USAGE)
    except OSError as error:
        fail(_explain(error), USAGE)
    return config


def check_named(flag: str, check: Callable[[str], None], name: str) -> None:
    """Judges what a flag names, and has the answer begin with that flag.

    Args:
        flag: As in --student_model.
        check: `models.check` or `data.check_available`, which say `model:` or
            `dataset:` whichever flag it was.
        name: What the flag says.

    Raises:
        ValueError: As `check` does, and of its class.
    """
    try:
        check(name)
    except ValueError as error:
        raise type(error)(re.sub(r"^\w+: ", f"{flag}: ", str(error))) from None


def _with_hint(message: str, config_class: type) -> str:
    if strange := re.match(r"flag --(\w+)=(.*?): \('Non-boolean", message):
        name, value = strange.groups()
        return f"{name}: got {value!r}, expected --{name} or --no{name}"
    unknown = re.match(r"Unknown command line flag '(.*?)'", message)
    if unknown is None:
        return message
    names = [field.name for field in _fields(config_class)]
    near = difflib.get_close_matches(unknown[1], names, n=1)
    hint = f"did you mean --{near[0]}? " if near else ""
    which = next((n for n in ("option", "criterion_options") if n in names), None)
    if which and is_option(unknown[1]):
        hint = f"did you mean --{which}={unknown[1]}=...? "
    return f"unknown flag --{unknown[1]}: {hint}--help lists them"


def fail(message: str, code: int = FAILURE) -> typing.NoReturn:
    """Says in one line what went wrong and leaves with an exit code.

    Raises:
        SystemExit: Always.
    """
    print("error: " + " ".join(message.split()), file=sys.stderr)
    raise SystemExit(code)


def _work_or_exit(work: Work, config: Any) -> None:
    _set_up_logging()
    try:
        _choose_kernels()
        _choose_keras()
        with quiet_tensorflow():
            import tensorflow as tf  # noqa: F401
        work(config)
    except KeyboardInterrupt:
        fail("interrupted: the same command goes on from here", 130)
    except OSError as error:
        fail(_explain(error))
    except MemoryError as error:
        fail(
            f"out of memory ({error}): choose smaller images, fewer of them or a "
            "smaller batch; what was complete is kept"
        )
    except ValueError as error:
        if os.environ.get("NETWORK_PRUNING_TRACEBACK"):
            raise
        fail(str(error), getattr(error, "exit_code", USAGE))


def _choose_kernels() -> None:
    """Has TensorFlow convolve by oneDNN, unless the environment says otherwise.

    It does so by itself on CPUs with AVX-512 alone; with AVX2, ResNet-20 trains in half
    the time by oneDNN, LeNet-5 in a third.
    """
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")


def _choose_keras() -> None:
    """Has TensorFlow load the Keras that is used here, and no other beside it.

    Keras 3, which brings scikit-learn along, would be a fifth of a command's start.
    """
    os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")


def _set_up_logging() -> None:
    """Lets the jobs say what they do, and all others only what is wrong, once."""
    logging.basicConfig(
        level=logging.WARNING, format="%(message)s", stream=sys.stderr, force=True
    )
    for handler in logging.getLogger().handlers:
        handler.addFilter(_Once())
    logging.getLogger("absl").setLevel(logging.WARNING)
    logging.getLogger("network_pruning.jobs").setLevel(logging.INFO)
    # A sweep traces a function for each network, and means to.
    logging.getLogger("tensorflow").addFilter(
        lambda record: "triggered tf.function retracing" not in record.getMessage()
    )


class _Once(logging.Filter):
    """Lets every line pass a single time: a sweep asks the same of each network."""

    def __init__(self) -> None:
        super().__init__()
        self._said: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        line = record.getMessage()
        new = line not in self._said
        self._said.add(line)
        return new


def _explain(error: OSError) -> str:
    if error.errno == errno.ENOSPC:
        return (
            f"the disk is full ({error.filename or 'while writing'}): what was "
            "complete is kept; free some space and type the same command"
        )
    return str(error)


@contextlib.contextmanager
def quiet_tensorflow() -> Generator[None, None, None]:
    """Keeps TensorFlow's start-up chatter off the terminal, and nothing else.

    Its C++ side writes past Python; so file descriptor 2 is caught while TensorFlow is
    imported, and every line that is not known chatter is written out afterwards.

    Yields:
        Nothing.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    sys.stderr.flush()
    saved = os.dup(2)
    with tempfile.TemporaryFile() as caught:
        os.dup2(caught.fileno(), 2)
        try:
            yield
            import tensorflow as tf

            tf.config.list_physical_devices()
        finally:
            sys.stderr.flush()
            os.dup2(saved, 2)
            os.close(saved)
            caught.seek(0)
            for line in caught:
                if line.strip() and not _CHATTER.search(line):
                    os.write(2, line)
