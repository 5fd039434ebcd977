"""Embeddings that begin as word vectors from elsewhere: a file's or another run's (`--vectors`).

A token's row is the vector of the word that it spells, the blank before it aside, as it is spelled or else whatever the
case. Vectors are multiplied by one number, so that they have the spread (root mean square) of the random rows whose
place they take: networks are made for rows of that size, and angles stay. Tokens without a vector begin at random, as
ever. Frozen, no row of the table is learned.

`run.json` says under "vectors" whose they are, by which hash, and how many tokens have one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from rung.embeddings import open_vectors, token_names
from rung.errors import UserError
from rung.files import sha256_of
from rung.models.vectors.files import read_vectors
from rung.models.vectors.table import WordTable
from rung.run_files import MODEL
from rung.text.tokenizers import Tokenizer

if TYPE_CHECKING:
    from torch import nn

    from rung.runs import Run


class Matched(NamedTuple):
    """Which tokens have a vector.

    tokens: (M,) ids.
    vectors: (M, E) float32.
    """

    tokens: np.ndarray
    vectors: np.ndarray


def check_start(vectors: Path | None, frozen: bool, from_: Path | None) -> None:
    """Raise UserError for settings that don't go together."""
    if vectors is None and frozen:
        raise UserError("--vectors-frozen is said of vectors: give --vectors FILE or RUN, too")
    if vectors is not None and from_ is not None:
        raise UserError(
            "--vectors and --from are two beginnings: a run's weights have their embedding; give one"
        )


def fitted_config(vectors: Path, frozen: bool, rung: str, model_class: Any, config: Any) -> Any:
    """`config` as wide as the vectors. Raises UserError for a rung without an embedding and for another width."""
    name = next((name for name in ("n_embd", "width") if _is_field(config, name)), None)
    starts = model_class.trained_by == "torch" or getattr(model_class, "starts_from_vectors", False)
    if name is None or not starts:
        raise UserError(
            f"--vectors does not go with {rung}, which has no embedding of tokens; it goes with mlp, wavenet, rnn, "
            "lstm, gru, gpt, bert and bag-of-ngrams"
        )
    if frozen and model_class.trained_by != "torch":
        raise UserError(f"--vectors-frozen does not go with {rung}: its rows are learned; leave it out")
    if getattr(config, "inputs", "learned") != "learned":
        raise UserError(
            f"--vectors does not go with --inputs {config.inputs}, which has no rows; leave one out"
        )
    width, default = width_of(vectors), type(config)()
    given = {f.name: getattr(config, f.name) for f in fields(config)}
    given = {key: value for key, value in given.items() if value != getattr(default, key)}
    if given.get(name, width) != width:
        flag = f"--{name.replace('_', '-')} {given[name]}"
        raise UserError(
            f"{flag} does not go with --vectors {vectors}, which has {width} numbers a word; leave it out"
        )
    return type(config)(**given | {name: width})


def width_of(source: Path) -> int:
    """How many numbers a word has."""
    if source.is_dir():
        return int(open_vectors(source).vectors.shape[1])
    return int(read_vectors(source, 1).vectors.shape[1])


def described(source: Path, frozen: bool, tokenizer: Tokenizer) -> tuple[dict[str, Any], str]:
    """What the recipe of a run says of its vectors, and how many tokens have one, in a line.

    What cuts texts itself, and gets bytes, says so later. Raises UserError where no token has a vector.
    """
    table = open_vectors(source)
    said = {
        "source": source.as_posix(),
        "sha256": sha256_of(source / MODEL if source.is_dir() else source),
        "frozen": frozen,
    }
    if tokenizer.kind == "byte":
        return said, f"{source} has {len(table.words):,} words"
    n, of = (
        len(match(table, token_names(tokenizer)).tokens),
        sum(1 for name in token_names(tokenizer) if name),
    )
    if not n:
        raise UserError(
            f"no token of the {tokenizer.kind} tokeniser is a word that {source} has a vector for: try --tokenizer word"
        )
    told = "stay as they are" if frozen else "are learned on"
    return said | {
        "tokens": n
    }, f"{n:,} of {of:,} tokens ({n / of:.1%}) begin with a vector of {source}, and {told}"


def match(table: WordTable, names: Sequence[str]) -> Matched:
    """The tokens, by what they are called, that spell a word of `table`, and its vectors."""
    rows = [(i, table.find(name)) for i, name in enumerate(names) if name]
    found = [(i, row) for i, row in rows if row is not None]
    tokens, places = np.array(found, np.int64).reshape(-1, 2).T
    return Matched(tokens, np.asarray(table.vectors[places], np.float32))


def start_embedding(run: Run, embedding: nn.Parameter | None, names: Sequence[str]) -> None:
    """Put a run's vectors into its network's new table, scaled, whose first rows are called `names`.

    Raises UserError when they are gone or others.
    """
    import torch

    assert embedding is not None
    found = match(_reopened(run), names)
    with torch.no_grad():
        spread = float(embedding[: len(names)].square().mean().sqrt())
        own = float(np.sqrt(np.square(found.vectors, dtype=np.float64).mean()))
        scaled = found.vectors * (spread / own if own > 0 else 1.0)
        embedding[torch.from_numpy(found.tokens)] = torch.from_numpy(scaled.astype(np.float32))


def vectors_to_start_from(run: Run) -> WordTable | None:
    """The vectors a run begins with; None where it has none."""
    return _reopened(run) if "vectors" in run.recipe else None


def _reopened(run: Run) -> WordTable:
    said = run.recipe["vectors"]
    source = Path(said["source"])
    if sha256_of(source / MODEL if source.is_dir() else source) != said["sha256"]:
        raise UserError(
            f"{source} does not hold the vectors any more that {run.folder} began with: train anew"
        )
    return open_vectors(source)


def _is_field(config: Any, name: str) -> bool:
    return any(field.name == name for field in fields(config))
