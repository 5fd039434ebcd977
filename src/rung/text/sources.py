"""Where text comes from: built-in names, made data, files, folders, globs, standard input, https, the hub.

Documents come out one by one; no more than one (and a buffer) is held in memory. Text is UTF-8 and comes out
as it stands in the file: a byte order mark at the start is dropped, line ends are not translated.

What a document is, by `documents`:
    lines: each line that isn't empty, without its line end (`\\n` or `\\r\\n`);
    paragraphs: what stands between blank lines;
    files: each file whole. A row of .json, .jsonl, .csv, .tsv or .parquet is already a document and stays one;
    auto: rows are documents. Plain text is a list of lines if every plain file given has at least 100 lines
        and no blank line within its first megabyte; otherwise each file is one document.
Documents of no characters are left out. Half a character, which a JSON escape can spell, becomes U+FFFD.

Of a folder every file is read that Rung knows by its suffix or that is UTF-8 text to its end. What is left out is told
(`Source.left_out`): binary files, .json that holds no rows, links to folders, what is no file. Hidden files are not
looked at.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sys
import tempfile
import weakref
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from rung.errors import UserError, nearest
from rung.files import sha256_of
from rung.run_files import RECIPE, REPORT
from rung.text.builtin import BUILT_IN
from rung.text.download import download
from rung.text.formats import (
    ACCEPTED,
    BUFFER,
    ROW_FORMATS,
    STDIN,
    File,
    open_file,
    plain_documents,
    reading,
    require_text,
    split_suffixes,
)
from rung.text.json_rows import is_array
from rung.text.made import is_made, made_file
from rung.text.records import names_of, read_rows, require_fields, values_of

MODES = ("auto", "lines", "paragraphs", "files")
PLAIN = (".txt", ".text", ".md", ".markdown")

MIN_LIST_LINES = 100
MAX_FILES_NAMED = 1000


def open_source(
    data: str | Path,
    *,
    documents: str = "auto",
    field: str | None = None,
    sha256: str | None = None,
    like: str | None = None,
    keep_empty: bool = False,
    labelled: bool = False,
    rows_only: bool = False,
) -> Source:
    """The documents of `data`.

    Args:
        data: a built-in name (`shakespeare`, `names`, `reviews`; write `./names` for a file of that name), made data
            (`made:reverse?n=5000`, `rung.text.made`), a file, a folder (all text below it, sorted, hidden files left
            out), a glob,
            `-` for standard input, an https:// URL, or `hf://owner/dataset[/configuration]`.
        documents: auto, lines, paragraphs or files; see the module's docstring.
        field: which field of .json, .jsonl, .csv, .tsv and .parquet holds the text; default `text`, or the only
            column.
        sha256: of the one file or URL, checked before anything is read; a URL must have one.
        like: the `plain_mode` of a source read before, or None: `auto` cuts plain text as it was cut there, so that
            a short held-out list of lines stays a list.
        keep_empty: whether lines of no characters are documents too.
        rows_only: `field` is of rows, and passed over where there is plain text alone.
        labelled: whether rows with labels are wanted, of a built-in text that has them.

    Raises UserError for whatever can't be read, here or while the documents are read.
    """
    spec = str(data)
    if documents not in MODES:
        raise UserError(
            f"unknown --documents {documents}{nearest(documents, MODES)} (known: {', '.join(MODES)})"
        )
    if not spec:
        raise UserError("the data have an empty name; give a file, a folder, a glob, - or a built-in name")
    if sha256 is not None and not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
        raise UserError(f"--sha256 {sha256} is no SHA-256: 64 hexadecimal digits are needed")
    if spec.startswith("hf://"):
        return Source(spec, [], documents, field or "text", "rows")
    files, left_out, temporary = _files(spec, sha256, labelled)
    if rows_only and all(file.format == "text" for file in files):
        field = None
    if field is not None and all(file.format == "text" for file in files):
        raise UserError(f"--field {field} does not fit: {spec} is plain text; only rows have fields")
    mode = documents
    if documents == "auto":
        mode = _plain_mode(files) if like is None else like
    source = Source(spec, files, documents, field, mode, left_out, keep_empty=keep_empty and mode == "lines")
    if temporary is not None:
        weakref.finalize(source, temporary.unlink, missing_ok=True)
    return source


class Source:
    """Documents as strings, read anew on every iteration. Made by `open_source`.

    Attributes:
        left_out: what else there was in the folder and is not read: no text.
    """

    def __init__(
        self,
        spec: str,
        files: list[File],
        documents: str,
        field: str | None,
        mode: str,
        left_out: Sequence[Path] = (),
        *,
        keep_empty: bool = False,
    ) -> None:
        self.left_out = left_out
        self._spec = spec
        self._files = files
        self._documents = documents
        self._field = field
        self._mode = mode
        self._keep_empty = keep_empty
        self._counted: dict[str, Any] = {}

    def __iter__(self) -> Iterator[str]:
        digest, n_bytes, n_documents = hashlib.sha256(), 0, 0
        for document in self._read():
            if document or self._keep_empty:
                data = document.encode("utf-8")
                digest.update(data)
                n_bytes += len(data)
                n_documents += 1
                yield document
        if not n_documents:
            raise UserError(f"{self._spec} holds no text")
        self._counted = {"sha256": digest.hexdigest(), "bytes": n_bytes, "n_documents": n_documents}

    @property
    def files(self) -> list[File]:
        """The files it reads, in order."""
        return self._files

    @property
    def plain_mode(self) -> str | None:
        """What a document of plain text is here: lines, paragraphs or files. None when there is none."""
        return self._mode if any(file.format == "text" for file in self._files) else None

    def describe(self) -> dict[str, Any]:
        """What `run.json` says of the data.

        `sha256` (over the documents' UTF-8 bytes, one document after another, nothing between them), `bytes`
        and `n_documents` are there once all documents have been read. The first 1,000 files are named.
        """
        kinds = {
            "rows" if f.format != "text" and self._documents in ("auto", "files") else self._mode
            for f in self._files
        }
        return {
            "data": self._spec,
            "files": [file.name for file in self._files[:MAX_FILES_NAMED]],
            "n_files": len(self._files),
            **({"left_out": self._left_out()} if self.left_out else {}),
            "documents": " and ".join(sorted(kinds)) or self._mode,
            "field": self._field,
            **self._counted,
        }

    def _left_out(self) -> dict[str, Any]:
        return {"n": len(self.left_out), "files": [str(path) for path in self.left_out[:MAX_FILES_NAMED]]}

    def _read(self) -> Iterator[str]:
        columns = {"text": self._field}
        if self._spec.startswith("hf://"):
            for row in _hub_rows(self._spec, columns):
                yield from self._of_row(row["text"])
        for file in self._files:
            with reading(file):
                if file.format == "text":
                    yield from plain_documents(file, self._mode)
                else:
                    for row in read_rows(file, columns):
                        yield from self._of_row(row["text"])

    def _of_row(self, text: str) -> Iterator[str]:
        if self._documents == "lines":
            yield from (line.removesuffix("\r") for line in text.split("\n"))
        elif self._documents == "paragraphs":
            yield from (paragraph.strip("\r\n") for paragraph in re.split(r"\n(?:[^\S\n]*\n)+", text))
        else:
            yield text


def _files(
    spec: str, sha256: str | None, labelled: bool = False
) -> tuple[list[File], list[Path], Path | None]:
    """The files that `spec` names, what is left out of it, and the one among the files that is ours to remove."""
    if spec in BUILT_IN:
        _no_hash(spec, sha256)
        text = BUILT_IN[spec]
        return [_file(spec, (text.labelled if labelled and text.labelled else text).path())], [], None
    if is_made(spec):
        _no_hash(spec, sha256)
        path = made_file(spec)
        return [File(spec, path, "jsonl", "")], [], path
    if spec == "-":
        _no_hash("standard input", sha256)
        path = _spool(sys.stdin.buffer)
        return [File(STDIN, path, "text", "")], [], path
    if spec.lower().startswith("https://"):
        if sha256 is None:
            raise UserError(
                f"{spec} needs its hash, so that every run sees the same text: give --sha256 HASH"
            )
        return [_file(spec, download(spec, sha256))], [], None
    if re.match(r"[a-zA-Z][a-zA-Z0-9+.-]+://", spec):
        raise UserError(f"{spec} can't be fetched: only https:// (with --sha256) and hf:// are accepted")

    path = Path(os.path.expanduser(spec))
    try:
        if path.is_dir():
            _no_hash(spec, sha256)
            return *_in_folder(path), None
        if not path.exists():
            found = _glob(spec)
            if not found:
                raise UserError(_missing(spec, path))
            _no_hash(spec, sha256)
            return [_file(str(path), path) for path in found], [], None
        if not path.is_file():  # a pipe, such as the shell's <(command): it can be read only once
            _no_hash(spec, sha256)
            with path.open("rb") as stream:
                spooled = _spool(stream)
            return [File(spec, spooled, "text", "")], [], spooled
        if path.stat().st_size == 0:
            raise UserError(f"{spec} is empty")
        if sha256 is not None and sha256_of(path) != sha256.lower():
            raise UserError(f"{spec} has SHA-256 {sha256_of(path)}, not {sha256}")
    except OSError as error:
        raise UserError(f"cannot read {spec}: {error.strerror or error}") from error
    return [_file(spec, path)], [], None


def _file(name: str, path: Path) -> File:
    suffix, compression = split_suffixes(path)
    return File(name, path, ROW_FORMATS.get(suffix, "text"), compression)


def _in_folder(folder: Path) -> tuple[list[File], list[Path]]:
    """The files below `folder` that are read, and those that aren't."""

    def refuse(error: OSError) -> NoReturn:
        raise error

    files: list[File] = []
    left_out: list[Path] = []
    for where, folders, names in os.walk(folder, onerror=refuse):
        runs = [
            name for name in folders if any((Path(where) / name / own).exists() for own in (RECIPE, REPORT))
        ]
        left_out += [Path(where) / name for name in runs]
        folders[:] = [name for name in folders if not name.startswith(".") and name not in runs]
        left_out += [Path(where) / name for name in folders if os.path.islink(Path(where) / name)]
        for path in (Path(where) / name for name in names if not name.startswith(".")):
            file = _file(str(path), path)
            if path.is_file() and _is_read(file):
                files.append(file)
            else:
                left_out.append(path)
    if not files:
        n = len(left_out)
        others = f"; {n} hold{'s' if n == 1 else ''} no text, such as {min(left_out)}" if n else ""
        raise UserError(f"{folder} holds no file that Rung reads{others} (accepted: {ACCEPTED})")
    files.sort(key=lambda file: Path(file.name).parts)
    return files, sorted(left_out, key=lambda path: path.parts)


def _is_read(file: File) -> bool:
    """Whether a file of a folder is read: by its suffix, or as it is text."""
    suffix, _ = split_suffixes(Path(file.name))
    try:
        if file.format == "json":
            with reading(file):
                is_array(file)
        elif file.format == "text" and suffix not in PLAIN:
            require_text(file)
    except UserError:
        return False
    return True


def _glob(spec: str) -> list[Path]:
    import glob

    found = glob.glob(os.path.expanduser(spec), recursive=True) if glob.has_magic(spec) else []
    return sorted((Path(name) for name in found if not Path(name).is_dir()), key=lambda path: path.parts)


def _missing(spec: str, path: Path) -> str:
    if re.search(r"[*?\[]", spec):
        return f"no file matches {spec}"
    if not path.parent.is_dir():
        return f"{spec} is not there: there is no folder {path.parent}{nearest(spec, BUILT_IN)}"
    beside = [entry.name for entry in path.parent.iterdir()]
    hint = nearest(path.name, [*beside, *BUILT_IN])
    others = ", ".join(BUILT_IN)
    return (
        f"{spec} is not there{hint} (accepted: a file, a folder, a glob, -, https://, hf://, made:, {others})"
    )


def _no_hash(spec: str, sha256: str | None) -> None:
    if sha256 is not None:
        raise UserError(f"--sha256 does not fit {spec}: it goes with one file or one https:// address")


def _spool(stream: BinaryIO) -> Path:
    """All of `stream` in a temporary file, so that it can be read more than once."""
    handle, name = tempfile.mkstemp(prefix="rung-")
    try:
        with os.fdopen(handle, "wb") as file:
            shutil.copyfileobj(stream, file, BUFFER)
    except OSError as error:
        Path(name).unlink(missing_ok=True)
        raise UserError(f"cannot keep the input in {name}: {error.strerror or error}") from error
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return Path(name)


def _plain_mode(files: list[File]) -> str:
    """Whether the plain text among `files` is a list of lines or whole files."""
    plain = [file for file in files if file.format == "text"]
    for file in plain:
        with reading(file), open_file(file) as stream:
            head = stream.read(BUFFER)
            whole = len(head) < BUFFER
            inside = head.rstrip() if whole else head
            if re.search(rb"\n[^\S\n]*\n", inside):
                return "files"
            lines = inside.count(b"\n") + 1
            while not whole and lines < MIN_LIST_LINES and (more := stream.read(BUFFER)):
                lines += more.count(b"\n")
            if lines < MIN_LIST_LINES:
                return "files"
    return "lines"


def _hub_rows(spec: str, columns: Mapping[str, str | None]) -> Iterator[dict[str, Any]]:
    """The `train` rows of hf://owner/dataset[/configuration], streamed; `columns` as in `read_rows`."""
    try:
        import datasets  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise UserError(f"{spec} needs the extra `hub`: pip install 'rung[hub]'") from None
    parts = spec.removeprefix("hf://").strip("/").split("/")
    if len(parts) not in (2, 3):
        raise UserError(
            f"{spec} is no data set: write hf://owner/dataset or hf://owner/dataset/configuration"
        )
    try:
        rows = datasets.load_dataset("/".join(parts[:2]), *parts[2:], split="train", streaming=True)
        for number, row in enumerate(rows):
            require_fields(row, names_of(columns), spec)
            yield values_of(row, names_of(columns), f"{spec} row {number}")
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {spec}: {error}") from error
