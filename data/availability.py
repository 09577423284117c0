"""Is a TFDS set prepared here, and if not, can it be fetched? Without TensorFlow."""

from __future__ import annotations

import os
import re
import threading
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from data.errors import DatasetError

PROBE_SECONDS = 3.0
"""Patience with each step of the probe (connection, handshake, answer)."""
PROBE_LIMIT_SECONDS = 6.0
"""Patience with the probe as a whole; name look-ups have no timeout of their own."""


def data_dir() -> Path:
    """Returns the folder of prepared sets: TFDS_DATA_DIR, or TFDS' own default."""
    default = os.path.join("~", "tensorflow_datasets")
    return Path(os.environ.get("TFDS_DATA_DIR") or default).expanduser()


def tfds_names() -> list[str]:
    """Returns the sets that the installed tensorflow-datasets has code for."""
    import tensorflow_datasets as tfds

    return tfds.list_builders(with_community_datasets=False)


def is_known(name: str) -> bool:
    """Returns whether a TFDS name is in the data folder, or one TFDS has code for."""
    base = _parts(name)[0]
    if not re.fullmatch(r"\w+", base):
        return False
    return (data_dir() / base).is_dir() or base in tfds_names()


def prepared(name: str) -> Path | None:
    """Finds a prepared set.

    Args:
        name: TFDS name, `set[/config][:version]`.

    Returns:
        The folder of its newest version, or None if it is not prepared.

    Raises:
        DatasetError: If several configurations are prepared and none is named.
    """
    base, config, version = _parts(name)
    home = data_dir() / base
    if config or _newest(home, version):
        return _newest(home / config, version)
    found = {d.name: _newest(d, version) for d in _folders(home)}
    found = {config: path for config, path in found.items() if path}
    if len(found) > 1:
        raise DatasetError(
            f"dataset {name!r}: {home} holds the configurations "
            f"{', '.join(sorted(found))}; name one, as {base}/{min(found)}"
        )
    return next(iter(found.values()), None)


def check_available(name: str) -> None:
    """Fails within seconds where tensorflow-datasets would retry for minutes.

    Raises:
        DatasetError: If the set is neither prepared nor to be fetched from here.
    """
    if prepared(name):
        return
    base = _parts(name)[0]
    missing = f"dataset {name!r} is not prepared in {data_dir()}"
    if base not in tfds_names():
        raise DatasetError(
            f"{missing}, and tensorflow-datasets has no code to prepare it; set "
            f"TFDS_DATA_DIR to the folder that holds it"
        )
    import tensorflow_datasets as tfds

    builder = tfds.builder_cls(base)
    manual = data_dir() / "downloads" / "manual"
    if builder.MANUAL_DOWNLOAD_INSTRUCTIONS:
        if not (manual.is_dir() and any(manual.iterdir())):
            raise DatasetError(
                f"{missing}, and its files have to be fetched by hand: put them in "
                f"{manual} and run `tfds build {name}`, or set TFDS_DATA_DIR to a "
                f"folder where it is prepared"
            )
        return
    _require_source(name, missing, list(builder.url_infos))


def _require_source(name: str, missing: str, urls: list[str]) -> None:
    trouble = probe(urls[0]) if urls else None
    if trouble:
        host = urllib.parse.urlsplit(urls[0]).netloc
        raise DatasetError(
            f"{missing} and its source {host} cannot be reached ({trouble}); run "
            f"`tfds build {name}` where there is network and set TFDS_DATA_DIR to the "
            f"folder that holds the result"
        )


def probe(url: str) -> str | None:
    """Asks once, briefly, whether a URL's host answers.

    Proxies of the environment are honoured; any answer of the host counts.

    Returns:
        None if it answers, otherwise the reason in a few words.
    """
    trouble = [f"no answer within {PROBE_LIMIT_SECONDS:g} seconds"]

    def ask() -> None:
        trouble[0] = _ask(url)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(PROBE_LIMIT_SECONDS)
    return trouble[0] or None


def _ask(url: str) -> str:
    request = urllib.request.Request(url, method="HEAD")
    try:
        with urllib.request.urlopen(request, timeout=PROBE_SECONDS):
            return ""
    except urllib.error.HTTPError:
        return ""
    except (OSError, ValueError) as error:
        return " ".join(str(getattr(error, "reason", error)).split())


def _parts(name: str) -> tuple[str, str, str]:
    rest, _, version = name.partition(":")
    base, _, config = rest.partition("/")
    return base, config, version


def _folders(home: Path) -> list[Path]:
    return sorted(d for d in home.iterdir() if d.is_dir()) if home.is_dir() else []


def _newest(home: Path, version: str) -> Path | None:
    """Returns the newest (or the wanted) complete version in a folder."""
    found = [
        d
        for d in _folders(home)
        if re.fullmatch(r"\d+\.\d+\.\d+", d.name)
        and version in {"", d.name}
        and (d / "dataset_info.json").is_file()
    ]
    return max(found, key=lambda d: [int(n) for n in d.name.split(".")], default=None)
