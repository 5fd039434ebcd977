"""Rows of .csv and .tsv, a list of cells each, as long as the header; a torn row is told by the line where it begins.

    .csv    RFC 4180: a cell in double quotes may hold delimiters, line ends and, doubled, quotes. The delimiter is the
            comma if the header's line has one outside quotes, else the only one of ; | and tab that it has.
    .tsv    a row is a line, cut at tabs. A cell may stand in quotes and, if there are other columns, hold line ends,
            where that makes as many cells as the header has and no line in it has a tab before a quote (so a stray
            quote swallows no rows). Any other quote is a character.

Lines end in a line feed, a carriage return or both. Lines that hold nothing are passed over. After a torn row reading
goes on at the line after the one where it begins, so that a quote that is never closed costs one row and not the rest.
"""

from __future__ import annotations

import csv
import io
import re
from collections import deque
from collections.abc import Iterator
from itertools import chain

from rung.errors import UserError

DELIMITERS = {",": ",", ";": ";", "\t": "tab", "|": "|"}
LONGEST_CELL = 1 << 27  # characters; a quote that is never closed would swallow the rest of a table
_LINES = 1 << 18  # characters of lines, at once


Row = tuple[int, list[str], str | None]
"""The line where a row begins, its cells, and why it is none (then `cells` are not to be used)."""


class Table:
    """The rows of `text`, which leaves line ends as they are (newline="").

    Attributes:
        header: the names of the columns.
        delimiter: what stands between cells.
    """

    def __init__(self, name: str, format: str, text: io.TextIOBase) -> None:
        """Raises UserError when there is no header that can be read."""
        # The module's limit on a cell, 131,072 characters, can be set only for the whole process.
        csv.field_size_limit(max(csv.field_size_limit(), LONGEST_CELL))
        lines = iter(lambda: text.readlines(_LINES), [])
        first = next(lines, [])
        head = next((line for line in first if line.strip("\r\n")), "")
        self.delimiter = "\t" if format == "tsv" else _delimiter(name, head)
        self._blocks = chain([first], lines)
        self._rows = self._of_lines() if format == "tsv" else self._of_quotes()
        line, self.header, why = next(self._rows, (0, [], None))
        if why is not None:
            raise UserError(f"{name}:{line}: no header that can be read: {why}")
        if not line:
            raise UserError(f"{name} has no header: its first row has to name the columns")

    def rows(self) -> Iterator[Row]:
        """The rows below the header."""
        return self._rows

    def _torn(self, n_cells: int, n: int) -> str:
        columns = "1 column" if n_cells == 1 else f"{n_cells} columns"
        advice = (
            "a row is a line, its cells parted by tabs"
            if self.delimiter == "\t"
            else f"put a text that holds {self.delimiter!r} or a line end in double quotes"
        )
        return f"{columns}, but the header has {n}; {advice}"

    def _of_lines(self) -> Iterator[Row]:
        lines, ahead = chain.from_iterable(self._blocks), deque[str]()

        def take() -> str | None:
            return ahead.popleft() if ahead else next(lines, None)

        n = number = 0
        while (line := take()) is not None:
            number += 1
            if not line.strip("\r\n"):
                continue
            cells, taken = line.rstrip("\r\n").split("\t"), [line]
            if '"' in line:
                unquoted = _unquoted(taken, iter(take, None) if n > 1 else iter(()))
                if unquoted is not None and len(unquoted) == (n or len(unquoted)):
                    cells = unquoted
                else:  # what was looked at is still to be read
                    ahead.extendleft(reversed(taken[1:]))
                    del taken[1:]
            n = n or len(cells)
            yield number, cells, None if len(cells) == n else self._torn(len(cells), n)
            number += len(taken) - 1

    def _of_quotes(self) -> Iterator[Row]:
        kept: list[list[str]] = []  # the lines that may be read again: from the row on that is being read
        n = before = begin = offset = (
            0  # lines: before `kept`, before the row being read, before `reader` began
        )

        def lines() -> Iterator[list[str]]:
            nonlocal before
            for block in self._blocks:
                while kept and before + len(kept[0]) <= begin:
                    before += len(kept.pop(0))
                kept.append(block)
                yield block

        reader = csv.reader(chain.from_iterable(lines()), delimiter=self.delimiter, strict=True)
        while True:
            begin = offset + reader.line_num
            try:
                for cells in reader:
                    if cells:
                        n = n or len(cells)
                        yield begin + 1, cells, None if len(cells) == n else self._torn(len(cells), n)
                    begin = offset + reader.line_num
                return
            except csv.Error as error:
                last = offset + reader.line_num
                yield begin + 1, [], _in_words(str(error), last)
                if last > begin + 1:
                    kept = [[line for block in kept for line in block][begin + 1 - before :]]
                    before = offset = begin + 1
                    reader = csv.reader(
                        chain(kept[0], chain.from_iterable(lines())), delimiter=self.delimiter, strict=True
                    )


def _delimiter(name: str, head: str) -> str:
    """The delimiter of a .csv whose header is the line `head`."""
    outside = re.sub(r'"[^"]*"', "", head)
    found = [mark for mark in DELIMITERS if mark in outside]
    if len(found) > 1 and found[0] != ",":
        marks = " and ".join(DELIMITERS[mark] for mark in found)
        raise UserError(
            f"{name}:1: the delimiter is not clear: the header has {marks} and no comma; quote the names that hold one"
        )
    return found[0] if found else ","


def _unquoted(taken: list[str], lines: Iterator[str]) -> list[str] | None:
    """The cells of a row of .tsv: the first line of `taken`, and what its quotes hold of `lines`, added to `taken`."""

    def row() -> Iterator[str]:
        yield taken[0]
        for line in lines:
            taken.append(line)
            if "\t" in line.partition('"')[0]:
                return  # another row, and no part of a cell
            yield line

    try:
        return next(csv.reader(row(), delimiter="\t", strict=True))
    except csv.Error:
        return None


def _in_words(error: str, last: int) -> str:
    """What Python's reader found wrong by line `last`."""
    if "end of data" in error:
        return 'a quote opens in this row and is never closed; close it, or write it twice inside quotes: ""'
    if "expected after" in error:
        return f'a quoted text goes on after its closing quote, in line {last}; write a quote inside quotes twice: ""'
    if "field limit" in error:
        return f"a cell is longer than {LONGEST_CELL:,} characters: is a quote never closed?"
    return f"not a row: {error}"
