"""Run folders: everything a run reads or writes goes through its RunDir.

Files appear whole or not at all (temporary file, fsync, rename), arrays are npz without
pickle, and `hold_run` keeps a second process out.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import os
import shutil
import zipfile
import zlib
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import tf_keras as keras

MAKE_AGAIN = "delete it to have it made again"


_UNREADABLE = (
    ValueError,
    EOFError,
    KeyError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What zipfile, numpy and Keras raise over files that are not what they should be."""


class DamagedFile(ValueError):
    """A file of a run cannot be read as what it should be."""

    exit_code = 1


class HeldRun(ValueError):
    """Another process works on a run."""

    exit_code = 1


class RunDir:
    """One run's folder.

    Attributes:
        path: The folder; made, with its parents, on construction.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        _make_folder(self.path)

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

    def write_folder(self, name: str, save: Callable[[Path], None]) -> None:
        """Lets `save` write a folder, then gives it its name; an old one goes."""
        target = self.path / name
        temporary = target.with_name(f".{os.getpid()}.tmp.{target.name}")
        try:
            save(temporary)
            shutil.rmtree(target, ignore_errors=True)
            os.replace(temporary, target)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def write_text(self, name: str, text: str) -> None:
        """Writes a text file."""
        self.write(name, lambda path: _write_bytes(path, text.encode()))

    def write_bytes(self, name: str, content: bytes) -> None:
        """Writes a binary file."""
        self.write(name, lambda path: _write_bytes(path, content))

    def write_json(self, name: str, value: Any) -> None:
        """Writes a JSON file."""
        self.write_text(name, json.dumps(value, indent=2) + "\n")

    def write_arrays(self, name: str, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Writes an npz of named arrays."""
        self.write(name, lambda path: _write_npz(path, arrays))

    def write_model(self, name: str, model: keras.Model) -> None:
        """Writes a .keras file."""
        self.write(name, model.save)

    def read_text(self, name: str) -> str:
        """Returns the content of a text file.

        Raises:
            DamagedFile: If it is no text.
        """
        try:
            return (self.path / name).read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise self.damaged(name, f"expected text, {error}") from None

    def read_json(self, name: str) -> dict[str, Any]:
        """Returns the content of a JSON file that holds one object.

        Raises:
            DamagedFile: If it is no such JSON.
        """
        try:
            value = json.loads(self.read_text(name))
        except ValueError as error:
            raise self.damaged(name, f"expected JSON, {error}") from None
        if not isinstance(value, dict):
            raise self.damaged(name, f"expected a JSON object, got {value!r:.40}")
        return value

    def read_arrays(
        self, name: str, remedy: str = MAKE_AGAIN
    ) -> dict[str, npt.NDArray[Any]]:
        """Returns the arrays of an npz.

        Args:
            name: Path inside the folder.
            remedy: What to do about a damaged file for which there is no good copy.

        Raises:
            DamagedFile: If it is truncated, altered or holds pickles.
        """
        # From memory, so that an OSError is the disk's and not the content's.
        content = io.BytesIO((self.path / name).read_bytes())
        try:
            _check_sums(content)
            with np.load(content, allow_pickle=False) as archive:
                return {key: archive[key] for key in archive.files}
        except _UNREADABLE as error:
            why = f"expected an npz of arrays, {error}"
            raise self.damaged(name, why, remedy) from None

    def read_model(
        self, name: str, sha256: str | None = None, remedy: str = MAKE_AGAIN
    ) -> keras.Model:
        """Loads a .keras file.

        Args:
            name: Path inside the folder.
            sha256: What `digest` gave when it was written; None skips the check.
            remedy: What to do about a damaged file for which there is no good copy.

        Returns:
            The model, not compiled.

        Raises:
            DamagedFile: If the file is not what was written.
        """
        import tf_keras as keras

        if sha256 is not None and (
            not self.exists(name) or self.digest(name) != sha256
        ):
            raise self.damaged(name, "its content is not what was written", remedy)
        try:
            return keras.models.load_model(self.path / name, compile=False)
        except (OSError, *_UNREADABLE) as error:
            why = f"expected a .keras model, {error}"
            raise self.damaged(name, why, remedy) from None

    def digest(self, name: str) -> str:
        """Returns the sha256 of a file, in hex."""
        return hashlib.sha256((self.path / name).read_bytes()).hexdigest()

    def adopt(self, source: Path, name: str) -> None:
        """Copies another run's folder to `name`, whole or not at all.

        An old folder of this name goes.
        """
        target = self.path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{os.getpid()}.tmp.{target.name}")
        shutil.rmtree(temporary, ignore_errors=True)
        try:
            shutil.copytree(source, temporary)
            shutil.rmtree(target, ignore_errors=True)
            os.replace(temporary, target)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def damaged(self, name: str, why: str, remedy: str = MAKE_AGAIN) -> DamagedFile:
        """Returns the error that says which file is not what it should be."""
        return DamagedFile(
            f"{self.path / name} is damaged ({why}): put back a good copy, or "
            f"{remedy}; nothing was overwritten"
        )


def _write_npz(path: Path, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Writes what np.savez would, under any name: it takes none called "file"."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as handle:
                np.lib.format.write_array(
                    handle, np.asanyarray(array), allow_pickle=False
                )


def _write_bytes(path: Path, content: bytes) -> None:
    with open(path, "wb") as handle:
        handle.write(content)


@contextmanager
def hold_run(
    path: Path, another: str = "--experiment_id", shared: bool = False
) -> Generator[None, None, None]:
    """Holds a run for this process, and mends what a killed one has left in it.

    The lock lies beside the folder, so that it also covers the moment in which a
    retrained run takes the folder's place.

    Args:
        path: The run's folder; need not exist.
        another: Flag that names another folder, for the message.
        shared: Beside others that share it, whose work is left alone.

    Yields:
        Nothing.

    Raises:
        HeldRun: If another process holds it.
    """
    with lock(_beside(path, "lock"), shared=shared) as mine:
        if not mine:
            raise HeldRun(
                f"another process works on {path}: wait for it, or give this one its "
                f"own {another}"
            )
        if not shared:
            _recover(path)
        yield


@contextmanager
def lock(
    path: Path, wait: bool = False, shared: bool = False
) -> Generator[bool, None, None]:
    """Keeps other processes out; the kernel lets go when the process ends.

    Args:
        path: Of a file made for it, which stays.
        wait: Until another process lets go.
        shared: Keep out those alone that do not share.

    Yields:
        Whether this process has the lock: False only where another has, and `wait` is
        False.
    """
    _make_folder(path.parent)
    with _open_lock(path) as handle:
        try:
            kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
            fcntl.flock(handle, kind | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        yield True


def retrain_folder(path: Path) -> Path:
    """Returns where a run is made again while the old one stands."""
    return _beside(path, "retrain")


def replace_run(path: Path) -> None:
    """Puts a complete retrained run in the place of the old one, if there is one.

    Killed at any moment, it leaves the old run, or the new one, for `hold_run` to find.
    """
    retired = _beside(path, "retired")
    if path.exists():
        os.replace(path, retired)
    os.replace(retrain_folder(path), path)
    shutil.rmtree(retired, ignore_errors=True)


def _recover(path: Path) -> None:
    retired = _beside(path, "retired")
    if retired.exists() and not path.exists():
        os.replace(retired, path)
    shutil.rmtree(retired, ignore_errors=True)
    for folder in (path, retrain_folder(path)):
        for leftover in list(folder.rglob(".*.tmp.*")):
            _delete(leftover)


def _delete(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _beside(path: Path, what: str) -> Path:
    return path.with_name(f".{path.name}.{what}")


def _make_folder(path: Path) -> None:
    with _naming(path):
        path.mkdir(parents=True, exist_ok=True)


def _open_lock(path: Path) -> IO[str]:
    with _naming(path.parent):
        return open(path, "a", encoding="utf-8")


@contextmanager
def _naming(path: Path) -> Generator[None, None, None]:
    """Says which folder cannot be written to.

    Raises:
        OSError: The one that came, in other words.
    """
    try:
        yield
    except OSError as error:
        raise OSError(
            error.errno,
            f"cannot write to {path} ({error.strerror}): choose another output folder",
        ) from error


def _check_sums(content: IO[bytes]) -> None:
    """Reads all of an npz, as numpy alone skips what the array headers do not claim.

    Raises:
        ValueError: If the content of an array does not fit its checksum.
    """
    with zipfile.ZipFile(content) as archive:
        bad = archive.testzip()
    if bad is not None:
        raise ValueError(f"{bad} was altered")
    content.seek(0)
