"""Run folders: everything a run reads or writes goes through its RunDir.

Files appear whole or not at all (temporary file, fsync, rename), arrays are npz without
pickle, and a lock keeps a second process out.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import tf_keras as keras

_LOCK = ".lock"


class DamagedFile(ValueError):
    """A file of a run cannot be read as what it should be."""


class RunDir:
    """One run's folder.

    Attributes:
        path: The folder; made, with its parents, on construction.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with open(self.path / _LOCK, "a", encoding="utf-8"):
                pass
        except OSError as error:
            raise OSError(
                error.errno,
                f"cannot write to {self.path} ({error.strerror}): "
                "choose another --output_dir",
            ) from error

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Holds the folder for this process; the kernel lets go when the process ends.

        Yields:
            Nothing.

        Raises:
            ValueError: If another process holds it.
        """
        with open(self.path / _LOCK, "a", encoding="utf-8") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ValueError(
                    f"another process works on {self.path}: wait for it, or give this "
                    "one its own --experiment_id"
                ) from None
            for leftover in self.path.rglob(".*.tmp.*"):
                _delete(leftover)
            yield

    def exists(self, name: str) -> bool:
        """Returns whether the file or folder is there."""
        return (self.path / name).exists()

    def remove(self, name: str) -> None:
        """Deletes a file if it is there."""
        (self.path / name).unlink(missing_ok=True)

    def write(self, name: str, save: Callable[[Path], None]) -> Path:
        """Lets `save` write a temporary file, then gives it its name.

        Args:
            name: Path inside the folder.
            save: Writes the file at the path it is given (same ending as `name`: Keras
                chooses its format by it).

        Returns:
            The final path.
        """
        target = self.path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{os.getpid()}.tmp.{target.name}")
        try:
            save(temporary)
            with open(temporary, "rb") as handle:
                os.fsync(handle.fileno())
            os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)
        return target

    def write_text(self, name: str, text: str) -> Path:
        """Writes a text file and returns its path."""
        return self.write(name, lambda path: _write_bytes(path, text.encode()))

    def write_bytes(self, name: str, content: bytes) -> Path:
        """Writes a binary file and returns its path."""
        return self.write(name, lambda path: _write_bytes(path, content))

    def write_json(self, name: str, value: Any) -> Path:
        """Writes a JSON file and returns its path."""
        return self.write_text(name, json.dumps(value, indent=2) + "\n")

    def write_arrays(self, name: str, arrays: Mapping[str, npt.NDArray[Any]]) -> Path:
        """Writes an npz of named arrays and returns its path."""
        return self.write(name, lambda path: np.savez(path, **arrays))

    def write_model(self, name: str, model: keras.Model) -> Path:
        """Writes a .keras file and returns its path."""
        return self.write(name, model.save)

    def read_text(self, name: str) -> str:
        """Returns the content of a text file."""
        return (self.path / name).read_text(encoding="utf-8")

    def read_json(self, name: str) -> Any:
        """Returns the content of a JSON file.

        Raises:
            DamagedFile: If it is no JSON.
        """
        try:
            return json.loads(self.read_text(name))
        except ValueError as error:
            raise self.damaged(name, f"expected JSON, {error}") from None

    def read_arrays(self, name: str) -> dict[str, npt.NDArray[Any]]:
        """Returns the arrays of an npz.

        Raises:
            DamagedFile: If it is truncated, altered or holds pickles.
        """
        try:
            with np.load(self.path / name, allow_pickle=False) as archive:
                return {key: archive[key] for key in archive.files}
        except (ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
            raise self.damaged(name, f"expected an npz of arrays, {error}") from None

    def read_model(self, name: str, sha256: str | None = None) -> keras.Model:
        """Loads a .keras file.

        Args:
            name: Path inside the folder.
            sha256: What `digest` gave when it was written; None skips the check.

        Returns:
            The model, not compiled.

        Raises:
            DamagedFile: If the file is not what was written.
        """
        import tf_keras as keras  # noqa: PLC0415

        if sha256 is not None and (
            not self.exists(name) or self.digest(name) != sha256
        ):
            raise self.damaged(name, "its content is not what was written")
        try:
            return keras.models.load_model(self.path / name, compile=False)
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise self.damaged(name, f"expected a .keras model, {error}") from None

    def digest(self, name: str) -> str:
        """Returns the sha256 of a file, in hex."""
        return hashlib.sha256((self.path / name).read_bytes()).hexdigest()

    def adopt(self, source: Path, name: str) -> None:
        """Copies another run's folder to `name`, whole or not at all."""
        target = self.path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{os.getpid()}.tmp.{target.name}")
        shutil.rmtree(temporary, ignore_errors=True)
        try:
            shutil.copytree(source, temporary)
            os.replace(temporary, target)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def damaged(self, name: str, why: str) -> DamagedFile:
        """Returns the error that says which file is not what it should be."""
        return DamagedFile(
            f"{self.path / name} is damaged ({why}): put back a good copy, or delete it "
            "to have it made again; nothing was overwritten"
        )


def _write_bytes(path: Path, content: bytes) -> None:
    with open(path, "wb") as handle:
        handle.write(content)


def _delete(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def replace_run(new: Path, old: Path) -> None:
    """Puts a complete run in the place of an old one; the old stands until then."""
    retired = _retired(old)
    shutil.rmtree(retired, ignore_errors=True)
    if old.exists():
        os.replace(old, retired)
    os.replace(new, old)
    shutil.rmtree(retired, ignore_errors=True)


def recover_run(old: Path) -> None:
    """Undoes a `replace_run` that was killed between its two renames."""
    if not old.exists() and _retired(old).exists():
        os.replace(_retired(old), old)


def _retired(path: Path) -> Path:
    return path.with_name(f".{path.name}.retired")
