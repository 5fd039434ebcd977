"""`rung embed` and `rung nearest`: vectors of texts, and what lies near what."""

from __future__ import annotations

import sys
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from rung.cli.common import Dashed, Text, ascii_lines, no_option, require_utf8, show_json
from rung.errors import UserError


def embed(
    run: Path,
    file: Dashed = None,
    *,
    text: Dashed = None,
    out: Path | None = None,
    pooling: str | None = None,
    normalize: bool = False,
    field: str | None = None,
    quiet: bool = False,
) -> int:
    """Vectors of the texts of a file, in order.

    One of each record: a line of plain text, an object of .jsonl or .json, a row of .csv, .tsv or .parquet. Of any run
    of a network: its states, pooled over the text's own length. A text longer than the network reads at once is read in
    pieces. Reads and writes as it goes, in constant memory. Bad records are counted.

    Example: rung embed runs/bert lines.txt --out vectors.parquet

    Args:
        run: a run's folder, of gpt, bert, lstm, gru, rnn, mlp or wavenet.
        file: the file, or - for standard input: lines, or with --field JSON lines.
        text: this text instead.
        out: write here, when all is done: .npy holds a row of float32 a record (of a bad one NaN), .parquet columns
            `text` and `vector` (of a bad one null); without it, JSON lines are printed.
        pooling: mean of the states, the first (bert's [CLS]) or the last; by default mean, or as the run learned.
        normalize: divide each vector by its length, so that products are cosines.
        field: which JSON field or column holds the text; by default that of the training.
        quiet: show no progress.
    """
    from rung import terminal
    from rung.evaluation.embedding import Embedder, Embedding, check_out, json_lines, write_vectors
    from rung.runs import load

    embedder = Embedder(load(run), pooling, normalize=normalize)
    if text is not None:
        for flag, value in (("FILE", file), ("--field", field), ("--out", out)):
            if value is not None:
                raise UserError(f"{flag} does not go with --text, which is one text by itself")
        require_utf8("--text", text)
        show_json({"vector": [float(f"{x:.9g}") for x in embedder([text])[0]]})
        return 0
    if file is None:
        raise UserError('name a file, - for standard input, or one text: rung embed RUN --text "..."')
    no_option(file)
    if out is not None:
        check_out(out, file)
    embedding = Embedding(embedder, file, field)
    records, n_bad, places = 0, 0, list[str]()
    shown = out is None and sys.stdout.isatty()
    blocks = embedding.blocks() if out is None else write_vectors(embedder, embedding, out)
    with terminal.FileProgress(file, embedding.size, quiet=quiet or shown) as progress, closing(blocks):
        for block in blocks:
            if out is None:
                sys.stdout.write(json_lines(block))
                sys.stdout.flush()
            records, n_bad = records + len(block.texts), n_bad + len(block.errors)
            places = (places + [*block.errors.values()])[:3]
            progress.update(block.position, records)
    if n_bad:
        more = "; ..." if n_bad > len(places) else ""
        print(
            f"rung: {n_bad:,} of {records:,} records have no vector: {'; '.join(places)}{more}",
            file=sys.stderr,
        )
    return 0


def nearest(
    run: Path,
    query: Text,
    *,
    in_: str,
    n: Annotated[int, Parameter(name=["-n", "--n"])] = 5,
    pooling: str | None = None,
    field: str | None = None,
    json: bool = False,
    quiet: bool = False,
) -> int:
    """Which texts of a file are nearest to a query?

    By the cosine of their vectors, exactly: every text of the file is looked at, in constant memory.

    Example: rung nearest runs/bert "late trains" --in lines.txt

    Args:
        run: a run's folder, as for rung embed.
        query: a text.
        in_: the file: lines, records, or what rung embed wrote (.npy, .parquet), which is many times as quick.
        n: how many.
        pooling: mean, first or last, as in rung embed; that of the vectors in a .parquet is known.
        field: which JSON field or column of the file holds the text.
        json: print one JSON object, nothing else.
        quiet: show no progress.
    """
    from rung import terminal
    from rung.evaluation.nearest import Search
    from rung.runs import load

    require_utf8("the query", query)
    no_option(in_)
    search = Search(load(run), query, in_, n, pooling=pooling, field=field)
    with terminal.FileProgress(in_, search.size, quiet=quiet or json) as progress:
        for seen in search.steps():
            progress.update(seen.position, seen.records)
    if json:
        show_json(
            {"query": query, "in": in_, "records": search.records, "bad": search.bad}
            | {"nearest": [asdict(one) for one in search.nearest]}
        )
        return 0
    for one in search.nearest:
        print(f"{one.cosine:>7.4f}  {one.row:>9,}  {ascii_lines(one.text or '')}".rstrip())
    if search.bad:
        print(f"rung: {search.bad:,} of {search.records:,} records have no vector", file=sys.stderr)
    return 0
