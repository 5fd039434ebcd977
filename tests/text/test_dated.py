"""What a log's lines begin with, and what only looks a little like it."""

from __future__ import annotations

import pytest

from rung.text.dated import look_dated


@pytest.mark.parametrize(
    "line",
    [
        b"2026-11-26T14:58:08Z started",
        b"[2026-11-26 14:58:08,123] INFO x",
        b"26.11.2026 login",
        b"11/26/26 3 rows",
        b'10.0.0.1 - alice [26/Nov/2026:14:58:08 +0000] "GET /"',
        b"Nov 26 14:58:08 host sshd[1]: x",
        b"Thu, 26 Nov 2026 - a mail",
        b"14:58:08.120 tick",
        b"1764169088 tick",
        b"1764169088123,4,5",
    ],
)
def test_lines_of_logs(line: bytes):
    assert look_dated([line] * 10)


@pytest.mark.parametrize(
    "line",
    [
        b"emma",
        b"To be, or not to be",
        b"3.14159 pi",
        b"may the force",
        b"127.0.0.1 localhost",
        b"1 2 3",
        b"12:30",
        b"",
    ],
)
def test_other_lines(line: bytes):
    assert not look_dated([line] * 10)
    assert not look_dated([])


def test_most_of_them_have_to_be_dated():
    assert look_dated([b"2026-11-26 x"] * 9 + [b"  at line 3"])
    assert not look_dated([b"2026-11-26 x"] * 5 + [b"  at line 3"] * 5)
