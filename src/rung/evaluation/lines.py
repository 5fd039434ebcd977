"""A file scored line by line, in order and in constant memory."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from rung.errors import UserError
from rung.evaluation.evaluate import score_texts
from rung.runs import Run

LINES_AT_ONCE = 2000


def score_lines(run: Run, file: str) -> Iterator[dict[str, Any]]:
    """One dictionary a line: the fields of `Score`, or `error` for a line that is no UTF-8.

    Args:
        run: a finished run.
        file: a text file's path, or - for standard input.
    """
    if file == "-":
        yield from _score(run, sys.stdin.buffer, "standard input")
        return
    try:
        opened = Path(file).open("rb")  # noqa: SIM115 - closed below; a generator outlives a with-less error here
    except FileNotFoundError:
        raise UserError(f"there is no file {file}") from None
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror}") from error
    with opened:
        yield from _score(run, opened, file)


def _score(run: Run, file: BinaryIO, name: str) -> Iterator[dict[str, Any]]:
    number = 0
    while lines := list(islice(file, LINES_AT_ONCE)):
        texts: list[str | None] = []
        errors = []
        for line in lines:
            number += 1
            try:
                texts.append(line.rstrip(b"\r\n").decode("utf-8"))
            except UnicodeDecodeError as error:
                texts.append(None)
                errors.append(f"{name}:{number}: not UTF-8 at byte {error.start} of the line")
        scores = score_texts(run.model, run.tokenizer, (text for text in texts if text is not None))
        broken = iter(errors)
        for text in texts:
            yield asdict(next(scores)) if text is not None else {"error": next(broken)}
