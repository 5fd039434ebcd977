"""The files of a run: their names, how one knows that there are any, how they go, and how a new run's take their place.

A new run lies in `.rung-next` until it counts; then

    .rung-next  ->  .rung-ready     from here on the new run is the one that counts
                    .rung-moving    what it replaces is gone; its files are moved up, run.json last

Cut short anywhere, `settle_files` does the rest.
"""

from __future__ import annotations

import os
import shutil
import time
from contextlib import suppress
from pathlib import Path

RECIPE = "run.json"
MODEL = "model.safetensors"
ADAPTER = "adapter.safetensors"
TOKENIZER = "tokenizer.json"
EVENTS = "events.jsonl"
DATA = "data"
CHECKPOINTS = "checkpoints"
LAST = "checkpoints/last.safetensors"
REPORT = "report.json"
PAGE = "report.html"
PICTURE = "lr_finder.svg"
# In the order in which they go: the data last, by which the rest is known.
OURS = (RECIPE, MODEL, ADAPTER, TOKENIZER, EVENTS, CHECKPOINTS, PAGE, REPORT, "restarts", PICTURE, DATA)

SAYING = (RECIPE, "config.json")
NEXT = ".rung-next"
READY = ".rung-ready"
MOVING = ".rung-moving"


def is_run(folder: Path) -> bool:
    """Whether a run or a climb is, or was begun, in `folder`."""
    marks = (RECIPE, REPORT, *(f"{DATA}/{name}" for name in ("corpus.json", "labelled.json", ".corpus.part")))
    if any(os.path.exists(folder / name) for name in marks):
        return True
    # The folder for the data is made first; where there is more beside it, empty, it is somebody else's.
    with suppress(OSError):
        inside = [path for path in folder.iterdir() if path.name != PICTURE and not is_passing(path.name)]
        return inside == [folder / DATA] and not any(inside[0].iterdir())
    return False


def is_passing(name: str) -> bool:
    """Whether a file is one of those that a process makes while it writes, and leaves only when it is killed."""
    return name == NEXT or (name.startswith(".") and name.endswith(".part"))


def clear(folder: Path) -> None:
    """Remove what a run or a climb wrote into `folder`; other files stay."""
    for name in OURS:
        path = folder / name
        if path.is_dir() and not path.is_symlink():
            # Half a folder would be nobody's. What of it can't be removed is in nobody's way then.
            passing = path.with_name(f".{name}.{time.time_ns()}.part")
            path.rename(passing)
            shutil.rmtree(passing, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def clear_passing(folder: Path) -> None:
    """Remove what a process that was killed was writing, or removing."""
    if (folder / NEXT).is_dir():
        shutil.rmtree(folder / NEXT)
    for name in OURS:
        for path in folder.glob(f".{name}.*part"):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink()


def settle_files(folder: Path) -> None:
    """Put what is ready in the place of what is there. Cut short anywhere, it can be done again."""
    ready, moving = folder / READY, folder / MOVING
    if ready.is_dir():
        _clear_for(ready, folder)
        ready.rename(moving)
    if moving.is_dir():
        _move_up(moving, folder)


def _clear_for(new: Path, old: Path) -> None:
    """Clear the run in `old`, and those inside it that `new` has too."""
    clear_passing(old)
    clear(old)
    for part in new.iterdir():
        if part.name not in OURS and part.is_dir() and (old / part.name).is_dir():
            _clear_for(part, old / part.name)
            with suppress(OSError):
                (old / part.name).rmdir()


def _move_up(new: Path, old: Path) -> None:
    """Move the files of `new` to `old`; the one that says what the others are is gone meanwhile, and comes last."""
    for name in SAYING:
        if (new / name).is_file():
            (old / name).unlink(missing_ok=True)
    for path in sorted(new.iterdir(), key=lambda path: path.name in SAYING):
        target = old / path.name
        if path.is_dir() and (target.is_dir() or not any(path.iterdir())):
            _move_up(path, target)
        else:
            path.replace(target)
    new.rmdir()
