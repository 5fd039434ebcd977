"""The table of vectors that a run has, or a file: what stands for a word, and which words there are.

    skipgram, cbow, imported   their vectors
    mlp, wavenet, rnn, lstm, gru, gpt, bert   the rows of the embedding that tokens come in by

A row is called by the text of its token without the blank before it. Of tokens called alike (` the` and `the`) the one
with the blank, a whole word, is taken. What spells no text of its own (marks, bytes) has no name.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rung.errors import UserError
from rung.models.vectors.base import WordVectors
from rung.models.vectors.files import read_vectors
from rung.models.vectors.table import WordTable
from rung.run_files import RECIPE
from rung.runs import Run, load
from rung.text.tokenizers import UTF8_BYTES, BertTokenizer, Tokenizer, WordTokenizer


def open_vectors(source: str | Path, *, trust: bool | str | Path = False) -> WordTable:
    """The vectors of a run's folder, or of a file. Raises UserError where there are none."""
    path = Path(source)
    if path.is_dir() or (path / RECIPE).exists():
        return vectors_of(load(path, trust=trust))
    found = read_vectors(path)
    return WordTable(found.words, found.vectors, str(path))


def vectors_of(run: Run) -> WordTable:
    """The vectors of a run. Raises UserError for a rung that has no table of them."""
    model, names = run.model, token_names(run.tokenizer)
    if isinstance(model, WordVectors):
        table = model.vectors
        if model.counts is not None:
            names = [name if n else "" for name, n in zip(names, model.counts.tolist(), strict=False)]
    else:
        table = _embedding(run)
        names = model.row_names or names
    rows = named_rows(names, run.tokenizer)
    return WordTable(list(rows), np.asarray(table[list(rows.values())], np.float32), str(run.folder))


def token_names(tokenizer: Tokenizer) -> list[str]:
    """What each id is called (V,), the mark aside; "" where it has no name."""
    unnamed = {*tokenizer.special, tokenizer.unknown}
    if isinstance(tokenizer, WordTokenizer):
        unnamed |= {i for i in range(len(UTF8_BYTES)) if not tokenizer.token_bytes[i].isalnum()}
    continuing = isinstance(tokenizer, BertTokenizer)
    names = []
    for i, spelled in enumerate(tokenizer.token_bytes[:-1]):
        try:
            name = "" if i in unnamed else spelled.decode("utf-8").strip()
        except UnicodeDecodeError:
            name = ""
        names.append("" if continuing and not spelled.startswith(b" ") else name)
    return names


def named_rows(names: list[str], tokenizer: Tokenizer) -> dict[str, int]:
    """Each name's id."""
    rows: dict[str, int] = {}
    for i, name in enumerate(names):
        if name and (
            name not in rows or (_has_blank(tokenizer, i) and not _has_blank(tokenizer, rows[name]))
        ):
            rows[name] = i
    return rows


def _has_blank(tokenizer: Tokenizer, token: int) -> bool:
    return tokenizer.token_bytes[token].startswith(b" ")


def _embedding(run: Run) -> np.ndarray:
    table = None
    if run.model_class.trained_by == "torch":
        table = run.model.network.token_embedding
    if table is None:
        raise UserError(
            f"{run.folder} is a {run.rung}: it has no table of vectors; "
            "skipgram, cbow and networks with embeddings do"
        )
    return table.numpy(force=True)
