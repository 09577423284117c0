"""Fields that become flags, and what several configs judge alike.

A config is a frozen dataclass: its fields are the flags of a command (`cli.run`), its
`__post_init__` judges their values before TensorFlow loads.
"""

from __future__ import annotations

import dataclasses
import math
import os
import re
from collections.abc import Callable, Mapping
from typing import Any

MODEL_ENDINGS = (".keras", ".h5", ".hdf5")
Meant = Mapping[str, tuple[str, set[str]]]
"""Flag -> the flag and its values without which it would do nothing."""
OF_SGD: Meant = {name: ("optimizer", {"sgd"}) for name in ("momentum", "nesterov")}
OF_SHIFTS: Meant = {"shift": ("augment", {"shift", "flip_shift", "affine"})}
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._=+-]{0,99}")


def flag(default: Any, text: str, changes: str = "training") -> Any:
    """Returns a field of a config, and so a flag.

    Args:
        default: Its value where it is not given.
        text: What it means, for --help.
        changes: What another value makes different; read by configs with digests.
    """
    return dataclasses.field(
        default=default, metadata={"help": text, "changes": changes}
    )


def repeated(text: str, changes: str = "training") -> Any:
    """Returns a field that holds the values of a flag given any number of times.

    Args:
        text: What one of them means, for --help.
        changes: See `flag`.
    """
    return dataclasses.field(
        default=(), metadata={"help": text, "changes": changes, "repeated": True}
    )


def is_model_file(model: str) -> bool:
    """Returns whether --model is a path, by its form: a / in it, or a known ending."""
    return "/" in model or os.sep in model or model.lower().endswith(MODEL_ENDINGS)


def words(value: Any) -> str:
    """Returns a flag's value as it would be typed."""
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def fields_of(config: Any, *names: str) -> dict[str, Any]:
    """Returns those of some fields of a config that are given, by name."""
    values = {name: getattr(config, name) for name in names}
    return {name: value for name, value in values.items() if value is not None}


def check_seeds(seeds: tuple[int, ...], flag: str = "seeds") -> None:
    """Judges seeds.

    Args:
        seeds: One for each training, or the only one.
        flag: That says them.

    Raises:
        ValueError: If one is out of NumPy's range or stands twice, or there are none.
    """
    fit = seeds and min(seeds) >= 0 and max(seeds) < 2**32
    if not fit or len(set(seeds)) < len(seeds):
        raise ValueError(
            f"{flag}: got {words(seeds) or 'none'}, expected "
            + ("different whole numbers" if flag.endswith("s") else "a whole number")
            + " from 0 to 2^32 - 1"
            + (f", as in --{flag}=0,1,2" if flag.endswith("s") else "")
        )


def check_momentum(momentum: float, nesterov: bool) -> None:
    """Judges the momentum of plain SGD.

    Raises:
        ValueError: If it is no share, or Nesterov's is to be taken of none.
    """
    if not 0 <= momentum < 1 or (nesterov and not momentum):
        raise ValueError(
            f"momentum: got {momentum}, expected a number in [0,1), above 0 with "
            "--nesterov"
        )


def check_meant_for(
    config: Any, meant: Meant, read: Callable[[Any, str], Any] = getattr
) -> None:
    """Judges flags that say something only with some values of another.

    Args:
        config: The flags, those not given at their default.
        meant: Flag -> the other flag, and its values.
        read: Tells the other flag's value.

    Raises:
        ValueError: For the first that would do nothing.
    """
    fields = type(config).__dataclass_fields__
    for name, (other, values) in meant.items():
        value, decides = getattr(config, name), read(config, other)
        if value != fields[name].default and decides not in values:
            raise ValueError(
                f"{name}: got {words(value)}, which says nothing with "
                f"--{other}={decides}: expected --{other}="
                f"{' or '.join(sorted(values))}"
            )


def check_id(flag: str, name: str | None, folder: str = "output_dir") -> None:
    """Judges the name of a run's folder.

    Args:
        flag: That says the name.
        name: Of the folder; None where it is made from the flags.
        folder: Flag that says where runs go.

    Raises:
        ValueError: If it is no plain name.
    """
    if name is not None and not _ID.fullmatch(name):
        raise ValueError(
            f"{flag}: got {name!r}, expected a plain name of at most 100 "
            f"letters, digits and ._=+- (the folder it goes into is --{folder})"
        )


def check_image_size(size: tuple[int, ...] | None) -> None:
    """Refuses what is no height,width.

    Raises:
        ValueError: If there are not two positive numbers.
    """
    if size is not None and (len(size) != 2 or min(size) < 1):
        raise ValueError(
            f"image_size: got {words(size)}, expected height,width as in "
            "--image_size=32,32"
        )


def check_input_range(low_high: tuple[float, ...]) -> None:
    """Refuses what is no low,high.

    Raises:
        ValueError: If there are not two numbers, the second above the first.
    """
    finite = all(map(math.isfinite, low_high))
    if len(low_high) != 2 or not finite or low_high[0] >= low_high[1]:
        raise ValueError(
            f"input_range: got {words(low_high)}, expected low,high as in "
            "--input_range=0,255"
        )
