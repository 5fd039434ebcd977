"""Files that are written whole or not at all: a temporary neighbour, fsync, then one rename."""

from __future__ import annotations

import glob
import hashlib
import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from rung.errors import UserError

try:
    import fcntl
except ImportError:  # no such thing on this system
    fcntl = None


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; when the block ends well, it takes `path`'s place.

    A reader sees the old file or the new one, never half of one, even after `kill -9`; what that left behind goes with
    the next write to `path`. Raises UserError when the folder can't be written to or the disk is full.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _clear_abandoned(path)
        try:  # from the first moment on: Ctrl-C may come at any
            temporary.touch()
            with locked(temporary):
                yield temporary
                with temporary.open("rb+") as file:
                    os.fsync(file.fileno())
                temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise cannot_write(path, error) from error


def _clear_abandoned(path: Path) -> None:
    """Remove the temporary neighbours of `path` that nobody is writing any more."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.part"):
        with suppress(OSError), locked(left) as ours:
            if ours:
                left.unlink()


@contextmanager
def made_folder(folder: Path) -> Iterator[None]:
    """Have `folder` be there. What had to be made for it goes again, when the block ends, if it is empty."""
    try:
        missing = [path for path in (folder, *folder.parents) if not path.exists()]
        if folder.is_file():
            raise UserError(f"--out {folder} is a file; give a folder")
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(folder, error) from error
    try:
        yield
    finally:
        with suppress(OSError):
            for path in missing:
                path.rmdir()


@contextmanager
def locked(path: Path, *, shared: bool = False) -> Iterator[bool | None]:
    """Lock a file or a folder until the block ends, or the process does; a shared lock shuts out only the others.

    Yields True, or False when another has locked it, or None when that can't be known: there are no locks here.
    """
    ours, handle = None, None
    if fcntl is not None:
        with suppress(OSError):
            handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
            try:
                fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
                ours = True
            except BlockingIOError:
                ours = False
    try:
        yield ours
    finally:
        if handle is not None:
            os.close(handle)


def cannot_write(path: Path, error: OSError) -> UserError:
    """The one line for a folder that is read-only, a path that is a file, a full disk."""
    return UserError(f"cannot write {path}: {error.strerror or error}; choose another --out or make room")


def json_text(value: Any, *, indent: int | None = None) -> str:
    """`value` as JSON, which has no nan and no infinities: null stands for them.

    Half a character, as which Python reads each byte of a file's name that is no UTF-8, is written as an escape.
    """
    try:
        text = json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False)
    except ValueError:
        text = json.dumps(finite(value), indent=indent, ensure_ascii=False, allow_nan=False)
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")


def finite(value: Any) -> Any:
    """What JSON can hold of a value: None for each number in it that is not finite."""
    if isinstance(value, dict):
        return {key: finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal. Raises UserError when it can't be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented UTF-8 JSON, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(json_text(value, indent=2) + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """Read a JSON file. Raises UserError when it is missing or broken."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} is missing") from None
    except (OSError, RecursionError, ValueError) as error:
        raise UserError(f"{path} can't be read as JSON: {error}") from error
