"""The folder of a run while it is written: an older run in it goes only when its successor stands.

Where nothing of worth is there, the new run is written in place, and a start that fails removes it again. Where an
older run is, the new one is written into `.rung-next` inside. When its first checkpoint stands, or what is counted is
complete, its files take the old ones' place (`rung.run_files`).

Whoever comes after a process that was killed finishes the last two steps, and drops a `.rung-next`. A folder is written
to by one process at a time, which holds a lock on it; the system drops the lock of a process that is no more.
"""

from __future__ import annotations

import glob
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path

from rung.errors import UserError
from rung.files import cannot_write, locked, made_folder, read_json
from rung.run_files import (
    DATA,
    LAST,
    MODEL,
    MOVING,
    NEXT,
    OURS,
    PICTURE,
    READY,
    RECIPE,
    REPORT,
    clear,
    clear_passing,
    is_passing,
    is_run,
    settle_files,
)

WAIT_SECONDS = 5.0


class Place:
    """A run's folder while it is written: `place / name` is where a file of it lies now.

    Attributes:
        folder: where the run stays in the end.
    """

    def __init__(self, root: Path, within: str = "", *, replaces: bool = True) -> None:
        """
        Args:
            root: the folder that is replaced as a whole, by one run or by many.
            within: where this run lies in it.
            replaces: whether `stand` of this run is what the whole waits for.
        """
        self.root = root
        self.within = within
        self.folder = root / within
        self._replaces = replaces

    def __truediv__(self, name: str | Path) -> Path:
        # Asked of the disk, so that the processes that only follow know as well.
        staged = self.root / NEXT
        return (staged if staged.is_dir() else self.root) / self.within / name

    def part(self, name: str, *, replaces: bool = True) -> Place:
        """A run inside this one."""
        return Place(self.root, str(Path(self.within) / name), replaces=self._replaces and replaces)

    def stand(self) -> None:
        """This run is complete, or can be gone on with: from now on it is the one in the folder."""
        if not self._replaces:
            return
        try:
            if (self.root / NEXT).is_dir():
                (self.root / NEXT).rename(self.root / READY)
                settle_files(self.root)
        except OSError as error:
            raise cannot_write(self.root, error) from error


@contextmanager
def new_run(
    folder: Path,
    *,
    force: bool,
    inputs: Iterable[str | Path] = (),
    parts: Sequence[str] = (),
    resumable: bool = True,
) -> Iterator[Place]:
    """Where to write a new run that stays in `folder`. What the block has not made stand is gone when it ends.

    Args:
        folder: made if it isn't there; files in it that are no run's stay.
        force: whether a run that is there may be replaced.
        inputs: what the new run is made from: files, folders, globs; what is none of them is passed over.
        parts: runs inside an older one, or folders of runs, that go with it.
        resumable: whether what a killed process leaves can be gone on with, so that it is best seen.

    Raises UserError when the folder is taken, can't be written to, or holds one of `inputs`.
    """
    check_apart(folder, inputs, (*OURS, *parts))
    with held(folder):
        _check_free(folder, force=force)
        _check_parts(folder, parts)
        try:
            if not resumable or _holds_work(folder):
                (folder / NEXT).mkdir()
                for part in _runs_in(folder, parts):
                    (folder / NEXT / part).mkdir(parents=True)
            else:
                _clear_leftovers(folder)
        except OSError as error:
            raise cannot_write(folder, error) from error
        try:
            yield Place(folder)
        finally:
            if (folder / NEXT).exists():
                shutil.rmtree(folder / NEXT, ignore_errors=True)
            elif not _holds_work(folder):
                with suppress(OSError):
                    _clear_leftovers(folder)


@contextmanager
def beside_run(folder: Path) -> Iterator[Place]:
    """Where to write what is needed for a while; it goes when the block ends, and a run in `folder` stays."""
    with held(folder):
        try:
            (folder / NEXT).mkdir()
        except OSError as error:
            raise cannot_write(folder, error) from error
        try:
            yield Place(folder)
        finally:
            shutil.rmtree(folder / NEXT, ignore_errors=True)


@contextmanager
def written_into(folder: Path, *, force: bool) -> Iterator[Place]:
    """Where to write files that belong together; they come into `folder` when the block ends well.

    Raises UserError when something is there and `force` isn't given.
    """
    with beside_run(folder) as place:
        if not force and any(not is_passing(path.name) for path in folder.iterdir()):
            raise UserError(f"{folder} is not empty; choose another --out, or give --force to write into it")
        yield place
        try:
            (folder / NEXT).rename(folder / MOVING)
            settle_files(folder)
        except OSError as error:
            raise cannot_write(folder, error) from error


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Be the only process that writes into a run's folder, and finish what one that was killed has begun.

    Folders that are made for it go again if nothing comes into them. Raises UserError when another process is writing.
    """
    with made_folder(folder), locked(folder) as ours:
        taken = [folder] if ours is False else [place for place in _around(folder) if _is_written(place)]
        if taken:
            raise UserError(
                f"another process is writing into {taken[0]}; wait until it has finished, or choose another --out"
            )
        try:
            settle_files(folder)
            clear_passing(folder)
        except OSError as error:
            raise cannot_write(folder, error) from error
        yield


def _is_written(folder: Path) -> bool:
    with locked(folder, shared=True) as free:
        return free is False


def settle(folder: Path) -> None:
    """Before a run is read: finish the exchange that a process was killed in, or wait for one that is at it.

    It may be that of a climb, of which the run is a part.
    """
    until = time.monotonic() + WAIT_SECONDS
    for place in (*_around(folder), folder):
        while any(map(os.path.isdir, (place / READY, place / MOVING))) and time.monotonic() < until:
            with locked(place) as ours:
                if ours is not False:
                    try:
                        settle_files(place)
                    except OSError as error:
                        raise cannot_write(place, error) from error
            time.sleep(0.01)


def check_apart(out: Path, inputs: Iterable[str | Path], names: Sequence[str] = OURS) -> None:
    """Raise UserError when writing `out`, of which `names` are replaced, would destroy one of `inputs`."""
    place = out.resolve()
    for given in inputs:
        for found in _existing(given):
            path = found.resolve()
            if path == place or (path.is_relative_to(place) and path.relative_to(place).parts[0] in names):
                raise UserError(
                    f"--out {out} would overwrite {given}, which it is made from; choose another --out"
                )


def check_no_run(out: Path, flag: str = "--out") -> None:
    """Raise UserError when `out` of a flag, a file or a folder that is there, is one of those of a run, or a run."""
    place = out.resolve()
    for run in (place, *_around(place)) if os.path.exists(place) else ():
        if is_run(run) and (run == place or place.relative_to(run).parts[0] in OURS):
            raise UserError(
                f"{flag} {out} would overwrite a part of the run {run.name}; choose another {flag}"
            )


def _around(folder: Path) -> list[Path]:
    """The folders that `folder` may be a part of: a climb's, or those of what best has tried."""
    return list(islice(folder.parents, 2))


def free_folder(name: str) -> Path:
    """`runs/NAME`, or `runs/NAME-2`, `-3`, ... when that is taken."""
    folder, n = Path("runs") / name, 1
    while not _is_free(folder):
        n += 1
        folder = Path("runs") / f"{name}-{n}"
    return folder


def _is_free(folder: Path) -> bool:
    if not folder.exists():
        return True
    try:
        _check_free(folder, force=False)
        return not _is_written(folder)
    except (OSError, UserError):
        return False


def _check_free(folder: Path, *, force: bool) -> None:
    """Raise UserError when `folder` can't take a new run: something is there and `force` isn't given."""
    try:
        inside = [path.name for path in folder.iterdir()]
    except OSError as error:
        raise cannot_write(folder, error) from error
    if all(name == PICTURE or is_passing(name) for name in inside):
        return
    if not is_run(folder):
        raise UserError(f"{folder} holds files that are no run; choose another --out")
    if not force and _holds_work(folder):
        raise UserError(
            f"{folder} is not empty; choose another --out, or give --force to overwrite the run there"
        )


def _check_parts(folder: Path, parts: Sequence[str]) -> None:
    """Raise UserError when what is no folder stands where a run of the new ones is to go."""
    for part in parts:
        path = folder / part
        if path.is_symlink() or path.is_file():
            raise UserError(
                f"{path} is no folder, and a run is to go there; move it, or choose another --out"
            )


def _holds_work(folder: Path) -> bool:
    """Whether there is something to lose: a finished model, a checkpoint, a report."""

    def finished(recipe: Path) -> bool:
        try:
            return read_json(recipe)["status"] != "training"
        except (UserError, KeyError, TypeError):
            return True  # nobody knows

    def kept(run: Path) -> bool:
        nameless = (run / MODEL).exists() and not (run / RECIPE).exists()
        return nameless or any((run / name).exists() for name in (LAST, REPORT))

    return kept(folder) or any(
        kept(recipe.parent) or finished(recipe) for recipe in folder.rglob(RECIPE) if NEXT not in recipe.parts
    )


def _clear_leftovers(folder: Path) -> None:
    """Remove what a start has left that failed, of its parts too."""
    if not is_run(folder):
        return
    for part in ("*", "*/*"):
        for path in folder.glob(part):
            if path.is_dir() and path.name not in OURS:
                clear_passing(path)
    runs = {mark.parent for name in ("*", "*/*") for mark in folder.glob(f"{name}/{RECIPE}")}
    runs |= {
        data.parent for name in ("*", "*/*") for data in folder.glob(f"{name}/{DATA}") if is_run(data.parent)
    }
    for run in sorted(runs, reverse=True):
        clear(run)
        for path in (run, *run.parents):
            if path == folder:
                break
            with suppress(OSError):
                path.rmdir()
    clear(folder)


def _runs_in(folder: Path, names: Iterable[str]) -> list[Path]:
    """Of the folders `names` in `folder`, and of those in them, the runs: their paths in `folder`."""
    found = [folder / name for name in names if (folder / name).is_dir()]
    found += [path for name in found for path in name.iterdir()]
    return [path.relative_to(folder) for path in found if is_run(path)]


def _existing(given: str | Path) -> list[Path]:
    """The files and folders that an input names."""
    path = os.path.expanduser(given)
    if os.path.exists(path):  # not so when it is too long for a name: a text, perhaps
        return [Path(path)]
    return [Path(name) for name in glob.glob(path, recursive=True)] if glob.has_magic(path) else []
