"""Rows as dicts of the columns that are asked for, one by one, in constant memory.

    .jsonl, .ndjson      an object a line; blank lines are passed over
    .json                the same, or an array of objects (`rung.text.json_rows`)
    .csv, .tsv           a row below the header (`rung.text.tables`)
    .parquet             a row; of the file only those columns are read

This is read to learn from, so what is broken is refused, and where it stands is named. What is only to be scored is
read by `rung.text.record_batches`, which marks what is broken and goes on.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

from rung.errors import UserError, nearest
from rung.text.formats import BUFFER, File, open_file, open_text
from rung.text.json_rows import array_items, is_array, parse_json
from rung.text.tables import Table

TEXT_KEYS = frozenset(["text"])
"""Keys whose values must be text."""
PARQUET_ROWS = 256  # at once


def read_rows(file: File, columns: Mapping[str, str | None]) -> Iterator[dict[str, Any]]:
    """The rows of `file`, each with the keys of `columns`.

    Args:
        columns: which field or column is wanted under each key; None = that of the key's own name, or, where a
            table has no other and one key is asked for, the only one.

    Values of TEXT_KEYS are text: nothing becomes "", half a character U+FFFD. Others are what the file has: strings in
    .csv and .tsv, anything in .json, .jsonl and .parquet.

    Raises UserError for a column that isn't there and for the first row that can't be read.
    """
    if file.format in ("jsonl", "json"):
        return _json_rows(file, columns)
    return _parquet_rows(file, columns) if file.format == "parquet" else _table_rows(file, columns)


def _json_rows(file: File, columns: Mapping[str, str | None]) -> Iterator[dict[str, Any]]:
    names = names_of(columns)
    array = file.format == "json" and is_array(file)
    with open_text(file) as text:
        rows = ((where, row) for where, row, _ in array_items(file, text)) if array else _objects(file, text)
        for where, row in rows:
            if not isinstance(row, dict):
                wanted = ", ".join(map(repr, names.values()))
                raise UserError(
                    f"{where}: an object with a field {wanted} is needed, not {type(row).__name__}"
                )
            require_fields(row, names, where)
            yield values_of(row, names, where)


def _objects(file: File, lines: Iterable[str]) -> Iterator[tuple[str, Any]]:
    for number, line in enumerate(lines, 1):
        if line.isspace():
            continue
        where = f"{file.name}:{number}"
        try:
            yield where, parse_json(line.rstrip())
        except ValueError as error:
            raise UserError(f"{where}: {error}") from None


def _table_rows(file: File, columns: Mapping[str, str | None]) -> Iterator[dict[str, Any]]:
    with open_text(file, newline="") as text:
        table = Table(file.name, file.format, text)
        names = choose_columns(file.name, columns, table.header)
        places = [(key, table.header.index(name)) for key, name in names.items()]
        for line, cells, why in table.rows():
            if why is not None:
                raise UserError(f"{file.name}:{line}: {why}")
            yield {key: cells[place] for key, place in places}


def _parquet_rows(file: File, columns: Mapping[str, str | None]) -> Iterator[dict[str, Any]]:
    with open_parquet(file) as table:
        names = choose_columns(file.name, columns, table.schema_arrow.names, text_columns(table))
        for batch in table.iter_batches(batch_size=PARQUET_ROWS, columns=list(set(names.values()))):
            for values in zip(*(batch.column(name) for name in names.values()), strict=True):
                row = {name: value.as_py() for name, value in zip(names.values(), values, strict=True)}
                yield values_of(row, names, file.name)


@contextmanager
def open_parquet(file: File) -> Iterator[Any]:
    """The `pyarrow.parquet.ParquetFile`. Raises UserError for what it finds wrong, now or inside the block."""
    import pyarrow
    from pyarrow import parquet

    assert file.path is not None
    with tempfile.TemporaryFile() if file.compression else file.path.open("rb") as stream:
        if file.compression:  # Parquet is read from its end
            with open_file(file) as packed:
                shutil.copyfileobj(packed, stream, BUFFER)
        try:
            yield parquet.ParquetFile(cast(Any, stream))
        except (pyarrow.ArrowException, UnicodeDecodeError) as error:
            raise UserError(f"{file.name} is no Parquet file that can be read: {error}") from error


def text_columns(table: Any) -> list[str]:
    """The columns of a Parquet file that hold strings, perhaps by numbers into a dictionary."""
    from pyarrow import types

    def is_text(kind: Any) -> bool:
        kind = kind.value_type if types.is_dictionary(kind) else kind
        return types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)

    return [column.name for column in table.schema_arrow if is_text(column.type)]


def names_of(columns: Mapping[str, str | None]) -> dict[str, str]:
    """The field for each key: the one asked for, or that of the key's own name."""
    return {key: key if name is None else name for key, name in columns.items()}


def choose_columns(
    source: str,
    columns: Mapping[str, str | None],
    header: Sequence[str],
    texts: Sequence[str] | None = None,
    n_shown: int | None = None,
) -> dict[str, str]:
    """The column for each key: the one asked for, that of the key's own name, or the only one.

    Args:
        source: what messages call the table.
        columns: as in `read_rows`.
        header: the names of all columns.
        texts: those that hold text, None = all.
        n_shown: how many of them a message names at most.
    """
    chosen = names_of(columns)
    for key, name in chosen.items():
        among = texts if texts is not None and key in TEXT_KEYS else header
        if columns[key] is None and len(columns) == 1 and len(among) == 1:
            chosen[key] = among[0]
        elif name not in among:
            what = f"column {name!r} is not text" if name in header else f"no column {name!r}"
            hint = _hint(key, name, among, n_shown) if among or not header else ", and no other is"
            raise UserError(f"{source}: {what}{hint}")
        refuse_doubled(source, header, chosen[key])
    return chosen


def refuse_doubled(source: str, header: Sequence[str], name: str) -> None:
    """Raises UserError when more than one column is called `name`."""
    if header.count(name) > 1:
        raise UserError(f"{source}: {header.count(name)} columns are called {name!r}; rename all but one")


def require_fields(row: Mapping[str, Any], names: Mapping[str, str], where: str) -> None:
    """Raises UserError unless `row` has a field for every key."""
    for key, name in names.items():
        if name not in row:
            raise UserError(f"{where}: no field {name!r}{_hint(key, name, list(row))}")


def values_of(row: Mapping[str, Any], names: Mapping[str, str], where: str) -> dict[str, Any]:
    """What `row` has for every key, text checked and mended."""
    values = {key: row[name] for key, name in names.items()}
    for key in TEXT_KEYS & values.keys():
        text = "" if values[key] is None else values[key]
        if not isinstance(text, str):
            raise UserError(f"{where}: field {names[key]!r} is {type(text).__name__}, not text")
        values[key] = whole_characters(text)
    return values


def whole_characters(text: str) -> str:
    """`text` with half a character, which a JSON escape can spell, as U+FFFD, and two halves as their character."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace") if is_broken(text) else text


def is_broken(text: str) -> bool:
    """Whether `text` holds half a character."""
    if text.isascii():
        return False
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return True
    return False


def _hint(key: str, name: str, present: Sequence[str], n_shown: int | None = None) -> str:
    if not present:
        return "; it has no fields at all"
    flag = "--field" if key == "text" else f"--{key}"
    shown = ", ".join(map(str, present[:n_shown]))
    return f"{nearest(name, present)} (there are: {shown}); choose one with {flag}"
