"""Runs to ARPA files and back: how a counted model travels to KenLM, SRILM and recognisers, and theirs come here."""

from __future__ import annotations

import shlex
from pathlib import Path

from rung.errors import UserError
from rung.exchange.arpa_format import UNK, token_names, write_arpa
from rung.exchange.arpa_reading import read_arpa
from rung.models.counting.ngram import NGram
from rung.run_files import TOKENIZER
from rung.run_folders import check_no_run, new_run
from rung.runs import Run, load, save_model, write_imported
from rung.text.tokenizers import WhitespaceTokenizer


def export_arpa(run: Run, path: Path) -> None:
    """Write an n-gram run as an ARPA file (.gz by suffix). A token is named by its text, a space in it as U+2581.

    The file's head says how a text is cut so that other programs can score it (`how_to_score`).

    Raises UserError when the run is no n-gram model.
    """
    if not isinstance(run.model, NGram):
        raise UserError(f"{run.folder} is a {run.rung}; only ngram runs can be written as ARPA")
    check_no_run(path)
    write_arpa(run.model, token_names(run.tokenizer), path, how_to_score(run, "RUN", "MODEL.arpa"))


def how_to_score(run: Run, folder: str, file: str) -> list[str]:
    """Lines that tell how KenLM scores text with an exported run; `folder` and `file` as they are to be called."""
    query = f"query {shlex.quote(file)} <"
    if run.tokenizer.kind == WhitespaceTokenizer.kind:
        lines = ["Its tokens are words between white space, a line is a sentence:", f"  {query} TEXT"]
    else:
        lines = [
            f"Its tokens are pieces of text ({run.tokenizer.kind}), not words. Cut a text into them, then score it:",
            f"  rung tokenize {shlex.quote(folder)} TEXT --out PIECES && {query} PIECES",
        ]
    return [" ".join(line.splitlines()) for line in lines]


def import_arpa(path: Path, folder: Path, *, force: bool = False) -> Run:
    """Read an ARPA file into a run that scores and samples like any other.

    Text is cut at white space, as the tools that write ARPA files do; a word that the file doesn't have is its
    `<unk>`. So this tokeniser, unlike Rung's own, is not lossless. A document is a line.
    """
    model, names = read_arpa(path)
    tokenizer = WhitespaceTokenizer(names[: model.end], names.index(UNK))
    with new_run(folder, force=force, inputs=[path], resumable=False) as place:
        tokenizer.save(place / TOKENIZER)
        save_model(place, model)
        write_imported(
            place,
            model,
            tokenizer.kind,
            {"source": {"data": path.name, "documents": "lines"}, "imported": "arpa"},
        )
        place.stand()
    return load(folder)
