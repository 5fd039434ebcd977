"""Data that are made, with a known answer: `made:NAME?key=value&key=value`.

    copy       a row of letters, and the same row                       many to many
    reverse    a row of letters, and the same from its end              many to many
    dates      a date as people write or say it, and as ISO 8601 does   many to many
    count      a row of letters, and how many a there are in it         many to one
    numbers    a number in digits, and in words                         one to many

    n          how many rows, 20,000
    longest    of copy, reverse and count: the most letters, 16; each length up to it is as likely
    letters    of copy, reverse and count: of how many letters rows are made, 26, of count 4
    seed       of chance, 0

Rows have a `source` and a `target`, and no source comes twice, so what is held out was never learned. The same name is
the same bytes everywhere: all that is drawn is drawn from `random()`, which Python keeps.
"""

from __future__ import annotations

import json
import random
import string
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from datetime import date, timedelta
from pathlib import Path
from urllib.parse import parse_qsl

from rung.errors import UserError, nearest

PREFIX = "made:"
MOST_TRIES = 1000
"""So many draws in a row that were there before, and there are no more to be had."""
FIRST_DAY, LAST_DAY = date(1800, 1, 1), date(2099, 12, 31)
LARGEST_NUMBER = 999_999


def _words(text: str) -> list[str]:
    return text.split()


SMALL = _words(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
)
TENS = _words("twenty thirty forty fifty sixty seventy eighty ninety")
ORDINALS = _words(
    "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth fifteenth "
    "sixteenth seventeenth eighteenth nineteenth twentieth"
)
MONTHS = _words("January February March April May June July August September October November December")
DAYS = _words("Monday Tuesday Wednesday Thursday Friday Saturday Sunday")


@dataclass(frozen=True)
class Made:
    """What a name asks for."""

    n: int = 20_000
    longest: int = 16
    letters: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name, value in (("n", self.n), ("longest", self.longest), ("letters", self.letters)):
            if value is not None and value < 1:
                raise UserError(f"{name}={value} makes no data: give 1 or more")
        if self.letters is not None and self.letters > len(string.ascii_lowercase):
            raise UserError(f"letters={self.letters} is more than there are: give 26 or fewer")


class Chance:
    """Draws that are the same with every version of Python."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def below(self, n: int) -> int:
        """0 to n - 1, each as likely."""
        return int(self._random.random() * n)


Maker = Callable[[Chance, Made], tuple[str, str]]


def _row(chance: Chance, made: Made, letters: int = len(string.ascii_lowercase)) -> str:
    length = 1 + chance.below(made.longest)
    n = letters if made.letters is None else made.letters
    return "".join(string.ascii_lowercase[chance.below(n)] for _ in range(length))


def _copy(chance: Chance, made: Made) -> tuple[str, str]:
    row = _row(chance, made)
    return row, row


def _reverse(chance: Chance, made: Made) -> tuple[str, str]:
    row = _row(chance, made)
    return row, row[::-1]


def _count(chance: Chance, made: Made) -> tuple[str, str]:
    row = _row(chance, made, 4)
    return row, str(row.count("a"))


def _number(chance: Chance, made: Made) -> tuple[str, str]:
    n = chance.below(10 ** (1 + chance.below(len(str(LARGEST_NUMBER)))))
    return str(n), in_words(n)


def _date(chance: Chance, made: Made) -> tuple[str, str]:
    day = FIRST_DAY + timedelta(days=chance.below((LAST_DAY - FIRST_DAY).days + 1))
    month, weekday = MONTHS[day.month - 1], DAYS[day.weekday()]
    written = (
        f"{day.day} {month} {day.year}",
        f"{month} {day.day}, {day.year}",
        f"{weekday}, the {day.day}{_ending(day.day)} of {month} {day.year}",
        f"{weekday[:3]} {day.day} {month[:3]} {day.year}",
        f"{month[:3]} {day.day}{_ending(day.day)} {day.year}",
        f"the {ordinal(day.day)} of {month} {year_in_words(day.year)}",
        f"{weekday}, {month} the {ordinal(day.day)}, {year_in_words(day.year)}",
    )
    return written[chance.below(len(written))], day.isoformat()


MAKERS: dict[str, Maker] = {
    "copy": _copy,
    "reverse": _reverse,
    "dates": _date,
    "count": _count,
    "numbers": _number,
}


def is_made(spec: str) -> bool:
    """Whether data of this name are made."""
    return spec.startswith(PREFIX)


def rows(spec: str) -> Iterator[tuple[str, str]]:
    """Sources and targets. Raises UserError for a name or a key that there is none of, and where there are no more."""
    name, _, query = spec.removeprefix(PREFIX).partition("?")
    if name not in MAKERS:
        raise UserError(f"there is no {PREFIX}{name}{nearest(name, MAKERS)} (made: {', '.join(MAKERS)})")
    made, maker = _asked(spec, query), MAKERS[name]
    chance, seen = Chance(made.seed), set[str]()
    for number in range(made.n):
        for _ in range(MOST_TRIES):
            source, target = maker(chance, made)
            if source not in seen:
                break
        else:
            raise UserError(
                f"{spec}: there are no more than about {number:,} different rows; ask for fewer: n="
            )
        seen.add(source)
        yield source, target


def made_file(spec: str) -> Path:
    """The rows as JSON lines in a temporary file, which is the caller's to remove."""
    with tempfile.NamedTemporaryFile(
        "w", prefix="rung-", suffix=".jsonl", delete=False, encoding="utf-8"
    ) as file:
        try:
            for source, target in rows(spec):
                file.write(json.dumps({"source": source, "target": target}) + "\n")
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise
    return Path(file.name)


def in_words(n: int) -> str:
    """A number below a million, in English: 342 = three hundred forty-two."""
    if n < 20:
        return SMALL[n]
    if n < 100:
        return TENS[n // 10 - 2] + (f"-{SMALL[n % 10]}" if n % 10 else "")
    if n < 1000:
        return f"{SMALL[n // 100]} hundred" + (f" {in_words(n % 100)}" if n % 100 else "")
    return f"{in_words(n // 1000)} thousand" + (f" {in_words(n % 1000)}" if n % 1000 else "")


def ordinal(day: int) -> str:
    """1 to 31: first to thirty-first."""
    if day <= 20:
        return ORDINALS[day - 1]
    return "thirtieth" if day == 30 else f"{TENS[day // 10 - 2]}-{ORDINALS[day % 10 - 1]}"


def year_in_words(year: int) -> str:
    """As it is said: 1905 = nineteen oh five, 1987 = nineteen eighty-seven, 2000 = two thousand."""
    century, rest = divmod(year, 100)
    if century == 20 and rest < 10:
        return in_words(year)
    if not rest:
        return f"{in_words(century)} hundred"
    return f"{in_words(century)} {'oh ' if rest < 10 else ''}{in_words(rest)}"


def _ending(day: int) -> str:
    return "th" if 11 <= day <= 13 else {1: "st", 2: "nd", 3: "rd"}.get(day % 10, "th")


def _asked(spec: str, query: str) -> Made:
    known = [field.name for field in fields(Made)]
    try:
        pairs = parse_qsl(query, strict_parsing=True, keep_blank_values=True) if query else []
    except ValueError:
        raise UserError(f"{spec}: after ? comes key=value, joined by & (keys: {', '.join(known)})") from None
    made = Made()
    for key, value in pairs:
        if key not in known:
            raise UserError(f"{spec}: there is no {key!r}{nearest(key, known)} (keys: {', '.join(known)})")
        try:
            made = replace(made, **{key: int(value)})
        except ValueError:
            raise UserError(f"{spec}: {key}={value} is no whole number") from None
    return made
