"""Sources: every format that is accepted, and one clear line for everything that isn't."""

import gzip
import hashlib
import io
import json
import os
import sys
import urllib.error
from collections.abc import Iterator
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import rung.text.sources
from rung.errors import UserError
from rung.text.builtin import BUILT_IN
from rung.text.download import download
from rung.text.sources import Source, open_source


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def put(name: str, data: bytes | str) -> str:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    raw = data.encode() if isinstance(data, str) else data
    if name.endswith(".gz"):
        raw = gzip.compress(raw)
    if name.endswith(".zst"):
        raw = bytes(pyarrow.compress(raw, codec="zstd", asbytes=True))
    path.write_bytes(raw)
    return name


def put_parquet(name: str, columns: dict[str, object]) -> str:
    pyarrow.parquet.write_table(pyarrow.table(columns), name)
    return name


def read(data: str, documents: str = "auto", field: str | None = None) -> list[str]:
    return list(open_source(data, documents=documents, field=field))


def complaint(data: str, documents: str = "auto", field: str | None = None, sha256: str | None = None) -> str:
    with pytest.raises(UserError) as error:
        list(open_source(data, documents=documents, field=field, sha256=sha256))
    message = str(error.value)
    assert "\n" not in message
    return message


PLAIN = "First line.\nSecond, with é and 敏.\r\n\nThird paragraph.\n"


@pytest.mark.parametrize("suffix", [".txt", ".md", ".log", "", ".txt.gz", ".txt.zst", ".TXT"])
def test_plain_text_comes_out_as_it_stands(suffix: str) -> None:
    name = put("text" + suffix, PLAIN)
    assert read(name) == [PLAIN]
    assert read(name, "files") == [PLAIN]
    assert read(name, "lines") == ["First line.", "Second, with é and 敏.", "Third paragraph."]
    assert read(name, "paragraphs") == ["First line.\nSecond, with é and 敏.", "Third paragraph."]


ROWS = ["one\nmore", "two 敏", "three"]


@pytest.mark.parametrize("packing", ["", ".gz", ".zst"])
@pytest.mark.parametrize("kind", ["jsonl", "ndjson", "csv", "tsv", "parquet"])
def test_rows_are_documents(kind: str, packing: str) -> None:
    name = f"rows.{kind}"
    if kind in ("jsonl", "ndjson"):
        data = "".join(json.dumps({"id": i, "text": text}) + "\n" for i, text in enumerate(ROWS)).encode()
    elif kind == "parquet":
        data = Path(put_parquet(name, {"id": [0, 1, 2], "text": ROWS})).read_bytes()
    else:
        comma = "," if kind == "csv" else "\t"
        data = "".join(f'{i}{comma}"{text}"\r\n' for i, text in enumerate(ROWS)).encode()
        data = f"id{comma}text\r\n".encode() + data
    name = put(name + packing, data)
    assert read(name) == read(name, "files") == read(name, field="text") == ROWS
    assert read(name, "lines") == ["one", "more", "two 敏", "three"]
    assert "there are: " in complaint(name, field="txt")
    assert "did you mean 'text'" in complaint(name, field="txt")


def test_json_is_an_array_or_lines() -> None:
    rows = [{"id": 1, "text": "one\nmore"}, {"id": 2, "text": "two, [{é"}]
    expected = [row["text"] for row in rows]
    for written in (json.dumps(rows), json.dumps(rows, indent=1), "\n".join(map(json.dumps, rows))):
        assert read(put("a.json", written + "\n")) == expected
        assert read(put("a.json.gz", "\ufeff\n" + written)) == expected


def test_a_few_control_characters_are_text() -> None:
    assert read(put("a.txt", "a\0b\x1b[1m\f")) == ["a\0b\x1b[1m\f"]
    assert read(put("a.jsonl", '{"text": "a\\u0000b"}')) == ["a\0b"]
    assert read(put("a.csv", "id,text\n1,a\0b\n")) == ["a\0b"]
    assert len(read(put("a.txt", ("x" * 99 + "\0") * 1000))[0]) == 100_000


def test_the_only_column_needs_no_name() -> None:
    assert read(put("a.csv", "name\nann\nbob\n")) == ["ann", "bob"]
    assert read(put_parquet("a.parquet", {"name": ["ann", "bob"], "n": [1, 2]})) == ["ann", "bob"]
    assert read(put("b.csv", "name,age\nann,3\n"), field="age") == ["3"]
    assert "(there are: name, age); choose one with --field" in complaint("b.csv")


def test_rows_without_text_are_left_out() -> None:
    assert read(put("a.jsonl", '{"text": null}\n\n{"text": ""}\n{"text": "x"}\n')) == ["x"]
    assert read(put_parquet("a.parquet", {"text": ["x", None, ""]})) == ["x"]
    assert read(put("a.csv", "text\n\nx\n")) == ["x"]


def test_half_a_character_becomes_the_replacement_character() -> None:
    assert read(put("a.jsonl", r'{"text": "a\ud800b\ud83d\udc69"}')) == ["a\ufffdb👩"]


def test_a_byte_order_mark_is_dropped_at_the_start_only() -> None:
    mark = "\ufeff"
    assert read(put("a.txt", mark + "x" + mark)) == ["x" + mark]
    assert read(put("a.txt.gz", mark + "x")) == ["x"]
    assert read(put("a.csv", mark + "text,id\nx,1\n")) == ["x"]
    assert read(put("a.jsonl", mark + '{"text": "x"}')) == ["x"]


def test_a_long_list_is_lines_and_a_short_one_is_not() -> None:
    names = [f"name{i}" for i in range(100)]
    assert read(put("names.txt", "\n".join(names))) == names
    assert read(put("names.txt", "\r\n".join(names) + "\r\n")) == names
    assert len(read(put("names.txt", "\n".join(names[:99])))) == 1
    assert len(read(put("names.txt", "\n".join(names) + "\n\nA paragraph."))) == 1
    long = "\n".join(["x" * 20_000] * 100)  # fewer than 100 lines in the first megabyte
    assert len(read(put("long.txt", long))) == 100


def test_plain_files_together_are_all_lists_or_none() -> None:
    put("folder/a.txt", "x\n" * 200)
    assert len(read("folder")) == 200
    put("folder/b.txt", "A letter.\n\nYours\n")
    assert len(read("folder")) == 2
    assert len(read("folder/a.txt")) == 200


def test_a_held_out_list_is_cut_like_the_list_it_belongs_to() -> None:
    train = open_source(put("train.txt", "x\n" * 200))
    put("val.txt", "y\nz\n")
    assert list(open_source("val.txt", like=train.plain_mode)) == ["y", "z"]
    assert list(open_source("val.txt")) == ["y\nz\n"]
    assert list(open_source("val.txt", documents="files", like=train.plain_mode)) == ["y\nz\n"]
    rows = open_source(put("rows.jsonl", '{"text": "a"}'))
    assert list(open_source("val.txt", like=rows.plain_mode)) == ["y\nz\n"]
    assert list(open_source("rows.jsonl", like=train.plain_mode)) == ["a"]


def test_a_folder_is_read_in_order_all_that_is_text() -> None:
    texts = {
        "a/z.txt": "1",
        "b.md": "2",
        "c.jsonl.gz": '{"text": "3"}',
        "d.py": "4",
        "e.log": "5",
        "f.json": '[{"text": "6"}]',
    }
    for name, text in texts.items():
        put(f"d/{name}", text)
    for name in ("d/.git/x.txt", "d/.hidden.txt"):
        put(name, "hidden")
    others = {
        "image.png": b"\x89PNG\r\n",
        "late.log": b"x" * (1 << 20) + b"\xff",
        "n.gz": bytes(99),
        "o.json": b"{",
    }
    for name, data in others.items():
        put(f"d/{name}", data)
    Path("d/loop").symlink_to(Path("d").absolute())
    Path("d/nowhere.txt").symlink_to("nothing")
    os.mkfifo("d/pipe.txt")
    assert read("d") == ["1", "2", "3", "4", "5", "6"]
    described = open_source("d").describe()
    assert described["files"] == [str(Path("d") / name) for name in texts]
    assert described["documents"] == "files and rows"
    left_out = [
        str(Path("d") / name)
        for name in ("image.png", "late.log", "loop", "n.gz", "nowhere.txt", "o.json", "pipe.txt")
    ]
    assert described["left_out"] == {"n": 7, "files": left_out}


def test_a_glob_and_a_file_named_like_one() -> None:
    for name in ("a1.txt", "a2.txt", "sub/a3.txt"):
        put(name, name[-5])
    assert read("a*.txt") == ["1", "2"]
    assert read("**/*.txt") == ["1", "2", "3"]
    assert read(put("a[1].txt", "literal")) == ["literal"]
    assert complaint("b*.txt") == "no file matches b*.txt"


def test_standard_input_can_be_read_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stdin:
        buffer = io.BytesIO(b"x\n" * 150)

    monkeypatch.setattr(sys, "stdin", Stdin)
    source = open_source("-")
    assert list(source) == list(source) == ["x"] * 150
    assert source.describe()["files"] == ["standard input"]


def test_a_pipe_is_read_once_and_kept() -> None:
    reading, writing = os.pipe()
    os.write(writing, b"through a pipe")
    os.close(writing)
    source = open_source(f"/dev/fd/{reading}")
    os.close(reading)
    assert list(source) == list(source) == ["through a pipe"]


def test_ten_megabytes_on_one_line() -> None:
    text = "word " * 2_000_000
    for documents in ("auto", "lines", "paragraphs"):
        assert read(put("a.txt", text), documents) == [text]
    assert read(put("a.jsonl", json.dumps({"text": text}))) == [text]
    assert read(put("a.csv", f'id,text\n1,"{text}"\n')) == [text]


@settings(max_examples=50, deadline=None)
@given(
    text=st.text(
        st.characters(
            exclude_categories=["Cs", "Cc"], include_characters="\t\n\v\f\r\x85", exclude_characters="\ufeff"
        ),
        min_size=1,
    )
)
def test_nothing_is_lost_between_file_and_documents(text: str) -> None:
    put("any.txt", text)
    assert "".join(read("any.txt", "files")) == text
    if text.strip("\n\r"):
        expected = [line.removesuffix("\r") for line in text.split("\n")]
        assert read("any.txt", "lines") == [line for line in expected if line]


def test_what_a_source_says_of_itself() -> None:
    source = open_source(put("a.txt", "one\n\ntwo 敏"), documents="paragraphs")
    assert "sha256" not in source.describe()
    list(source)
    raw = "onetwo 敏".encode()
    assert source.describe() == {
        "data": "a.txt",
        "files": ["a.txt"],
        "n_files": 1,
        "documents": "paragraphs",
        "field": None,
        "sha256": hashlib.sha256(raw).hexdigest(),
        "bytes": len(raw),
        "n_documents": 2,
    }
    whole = open_source("a.txt")
    list(whole)
    assert whole.describe()["sha256"] == hashlib.sha256(Path("a.txt").read_bytes()).hexdigest()


def test_reading_is_lazy() -> None:
    """The first document is there although the file breaks off later."""
    put("a.jsonl", '{"text": "x"}\n' * 1000 + "{")
    documents = iter(open_source("a.jsonl"))
    assert next(documents) == "x"
    with pytest.raises(UserError, match=r"a\.jsonl:1001: not JSON"):
        list(documents)


def test_a_built_in_name(monkeypatch: pytest.MonkeyPatch) -> None:
    put("kept.txt", "\n".join(f"name{i}" for i in range(200)))
    monkeypatch.setattr(type(BUILT_IN["names"]), "path", lambda self: Path("kept.txt"))
    assert len(read("names")) == 200
    assert open_source("names").describe()["files"] == ["names"]
    assert "did you mean 'names'" in complaint("namess")


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("empty.txt", b"", "empty.txt is empty"),
        ("blank.jsonl", b"\n\n", "blank.jsonl holds no text"),
        ("png.txt", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "png.txt is binary, not text (byte"),
        ("nul.txt", b"abc" + bytes(9), "nul.txt is binary, not text (byte 3 is 0x00)"),
        ("latin.txt", b"line\ncaf\xe9 noir\n", "latin.txt is not UTF-8 (byte 8 is 0xe9); if it is Latin-1"),
        ("latin.jsonl", b'{"text": "x"}\n{"text": "\xe9"}', "latin.jsonl is not UTF-8 (byte 24 is 0xe9)"),
        ("bom.txt", b"\xef\xbb\xbfab\xff", "bom.txt is not UTF-8 (byte 5 is 0xff)"),
        ("wide.txt", "text".encode("utf-16"), "wide.txt is UTF-16; convert it: iconv"),
        ("wider.txt", "text".encode("utf-32"), "wider.txt is UTF-32; convert it: iconv"),
        ("wide.csv", "text".encode("utf-16"), "-f UTF-16 wide.csv > wide.utf8.csv"),
        ("my file.tsv", b"text\n\xe9\n", "-f latin1 'my file.tsv' > 'my file.utf8.tsv'"),
        (
            "packed.csv.gz",
            "text".encode("utf-16"),
            "gzip -dc packed.csv.gz | iconv -t utf-8 -f UTF-16 > packed.utf8",
        ),
        ("zero.jsonl", b'{"text": "a\0"}', "zero.jsonl:1: not JSON: Invalid control character at column 12"),
        ("half.jsonl", b'{"text":\n{"text": "a"}\n', "half.jsonl:1: not JSON: Expecting value at column 9"),
        (
            "digits.jsonl",
            b'{"text": "a", "n": 1' + b"0" * 5000 + b"}",
            "read: a number of thousands of digits",
        ),
        ("bad.jsonl", b'{"text": "a"}\n{"text": }', "bad.jsonl:2: not JSON: Expecting value at column 10"),
        ("deep.jsonl", b"[" * 100_000, "deep.jsonl:1: not JSON that can be read"),
        ("list.jsonl", b'["a"]', "list.jsonl:1: an object with a field 'text' is needed, not list"),
        ("field.jsonl", b'{"text": "a"}\n\n{"txt": "b", "id": 3}', "field.jsonl:3: no field 'text'"),
        ("number.jsonl", b'{"text": 3}', "number.jsonl:1: field 'text' is int, not text"),
        ("short.csv", b"id,text\n1,a\n2\n", "short.csv:3: "),
        ("header.csv", b"\n", "header.csv has no header: its first row has to name the columns"),
        (
            "torn.csv",
            b"id,text\n1,a\n2,Hello, how are you?\n",
            "torn.csv:3: 3 columns, but the header has 2; put",
        ),
        ("two.csv", b"text,id,text\na,1,b\n", "two.csv: 2 columns are called 'text'; rename all but one"),
        ("latin.csv", b"id,text\n1,caf\xe9\n", "latin.csv is not UTF-8 (byte 13 is 0xe9)"),
        (
            "one.json",
            b'{\n "text": "a"\n}',
            "one.json: a .json has to hold an array of objects, or an object a line",
        ),
        ("strings.json", b'["a"]', "strings.json: item 1: an object with a field 'text' is needed, not str"),
        ("torn.json", b'[{"text": "a"},\n{"text": }]', "torn.json:2: not JSON: Expecting value at column 10"),
        ("open.json", b'[{"text": "a"}', "open.json: not JSON: a comma or ] is missing after item 1"),
        ("after.json", b"[] 3", "after.json: not JSON: something follows after the array's end"),
        ("deep.json", b"[" * 100_000, "deep.json: item 1: not JSON that can be read"),
        ("none.json", b"[ ]", "none.json holds no text"),
        ("not.parquet", b"PAR1 it is not", "not.parquet is no Parquet file"),
    ],
)
def test_bad_files(name: str, data: bytes, said: str) -> None:
    assert said in complaint(put(name, data))


@pytest.mark.parametrize("packing", [".gz", ".zst"])
def test_packed_files_cut_short_or_not_packed_at_all(packing: str) -> None:
    name = put("a.txt" + packing, "".join(map(str, range(5000))))
    path = Path(name)
    path.write_bytes(path.read_bytes()[:-5])
    for documents in ("auto", "lines"):
        assert f"{name} is cut short or damaged" in complaint(name, documents)
    path.write_bytes(b"plain text")
    assert f"{name} is cut short or damaged" in complaint(name)


def test_a_wrong_kind_of_column() -> None:
    put_parquet("a.parquet", {"text": [1, 2], "body": ["x", "y"]})
    assert "column 'text' is not text (there are: body); choose one with --field" in complaint(
        "a.parquet", field="text"
    )
    put_parquet("b.parquet", {"text": [1, 2]})
    assert complaint("b.parquet").endswith("column 'text' is not text, and no other is")


def test_names_that_lead_nowhere() -> None:
    put("story.txt", "x")
    assert "stori.txt is not there; did you mean 'story.txt'?" in complaint("stori.txt")
    assert "there is no folder no" in complaint(str(Path("no/where.txt")))
    assert "is not there" in complaint("~nobody.of.this.name/x.txt")
    assert "holds no file that Rung reads" in complaint(str(Path(put("d/x.bin", b"\xff")).parent))
    assert "empty name" in complaint("")
    assert "is not there" in complaint("a\0b")
    assert "cannot read" in complaint("x" * 5000)


def test_a_file_that_may_not_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    put("secret.txt", "x")
    put("d/a.txt", "x")

    def refuse(*_: object, **__: object) -> Iterator[str]:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    assert complaint("secret.txt") == "cannot read secret.txt: Permission denied"
    monkeypatch.setattr(os, "scandir", refuse)
    assert complaint("d") == "cannot read d: Permission denied"


def test_flags_that_do_not_fit() -> None:
    put("a.txt", "x")
    assert "unknown --documents line; did you mean 'lines'?" in complaint("a.txt", "line")
    assert "--field body does not fit: a.txt is plain text" in complaint("a.txt", field="body")
    assert "is no SHA-256" in complaint("a.txt", sha256="abc")
    assert "a.txt has SHA-256 2d711642" in complaint("a.txt", sha256="0" * 64)
    assert "--sha256 does not fit ." in complaint(".", sha256="0" * 64)
    right = hashlib.sha256(b"x").hexdigest()
    assert list(open_source("a.txt", sha256=right.upper())) == ["x"]


def test_addresses_that_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "give --sha256 HASH" in complaint("https://example.org/a.txt")
    assert "only https:// (with --sha256) and hf://" in complaint("http://example.org/a.txt", sha256="0" * 64)
    assert "only https://" in complaint("s3://bucket/a.txt")
    monkeypatch.setitem(sys.modules, "datasets", None)
    assert "pip install 'rung[hub]'" in complaint("hf://owner/dataset")


def test_a_dataset_of_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    class Datasets:
        @staticmethod
        def load_dataset(*names: str, split: str, streaming: bool) -> list[dict[str, object]]:
            asked.append((*names, split, streaming))
            return [{"text": "a", "label": 1}, {"text": "b", "label": 0}]

    monkeypatch.setitem(sys.modules, "datasets", Datasets)
    assert read("hf://owner/dataset/en") == ["a", "b"]
    assert asked == [("owner/dataset", "en", "train", True)]
    assert "hf://owner/dataset: no field 'body'" in complaint("hf://owner/dataset", field="body")
    assert "is no data set" in complaint("hf://dataset")


def test_a_download_is_checked_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, asked = b"x\n" * 150, []

    def open_url(url: str, timeout: float) -> io.BytesIO:
        asked.append(url)
        return io.BytesIO(data)

    url, right = "https://example.org/some%20dir/list.txt?raw=1", hashlib.sha256(data).hexdigest()
    path = download(url, right, open_url=open_url, folder=tmp_path)
    assert path.read_bytes() == data
    assert path.name.endswith("-list.txt")
    assert download(url, right, open_url=open_url, folder=tmp_path) == path
    assert asked == [url]
    with pytest.raises(UserError, match=f"{right}, not {'0' * 64}; nothing was kept"):
        download(url, "0" * 64, open_url=open_url, folder=tmp_path)
    assert [entry.name for entry in (tmp_path / "downloads").iterdir()] == [path.name]

    def offline(url: str, timeout: float) -> io.BytesIO:
        raise urllib.error.URLError("no route to host")

    with pytest.raises(UserError, match=r"cannot fetch https://example\.org.*no route to host"):
        download(url, "1" * 64, open_url=offline, folder=tmp_path)

    monkeypatch.setattr(rung.text.sources, "download", lambda url, sha256: path)
    assert isinstance(open_source(url, sha256=right), Source)
    assert len(list(open_source(url, sha256=right))) == 150
