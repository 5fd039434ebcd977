"""Word vectors of other programs into runs, and those of any run into word2vec's format."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rung.embeddings import vectors_of
from rung.models.vectors.files import read_vectors, write_vectors
from rung.models.vectors.imported import ImportedVectors, ImportedVectorsConfig
from rung.run_files import TOKENIZER
from rung.run_folders import check_no_run, new_run
from rung.runs import Run, load, save_model, write_imported
from rung.text.tokenizers import WhitespaceTokenizer
from rung.text.tokenizers.whitespace_words import UNKNOWN


def import_vectors(path: Path, folder: Path, *, most: int | None = None, force: bool = False) -> Run:
    """Read a file of vectors into a run. `most`: only so many words, the first of the file.

    Raises UserError where the file is none (`rung.models.vectors.files`).
    """
    with new_run(folder, force=force, inputs=[path], resumable=False) as place:
        found = read_vectors(path, most)
        n, width = found.vectors.shape
        unknown = found.words.index(UNKNOWN) if UNKNOWN in found.words else None
        tokenizer = WhitespaceTokenizer(found.words, unknown)
        vectors = np.concatenate([found.vectors, np.zeros((1, width), np.float32)])  # the mark's
        model = ImportedVectors(ImportedVectorsConfig(width), n + 1, n, vectors)
        tokenizer.save(place / TOKENIZER)
        save_model(place, model)
        data = {
            "source": {"data": path.name, "documents": "lines"},
            "imported": found.format,
            "repeated": found.repeated,
        }
        write_imported(place, model, tokenizer.kind, data, task="vectors")
        place.stand()
    return load(folder)


def export_vectors(run: Run, path: Path) -> tuple[int, int]:
    """Write a run's vectors in word2vec's format; how many words, and how many were left out: they hold white space.

    Raises UserError for a run that has none.
    """
    check_no_run(path)
    table = vectors_of(run)
    rows = [row for row, word in enumerate(table.words) if len(word.split()) == 1 and not word[0].isspace()]
    write_vectors(path, [table.words[row] for row in rows], table.vectors[rows])
    return len(rows), len(table.words) - len(rows)
