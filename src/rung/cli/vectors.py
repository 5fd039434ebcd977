"""`rung vectors ...`: what stands near what. Loaded only when asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from cyclopts import App, Parameter

from rung.cli.common import flowing, read_value, require_utf8, show_json
from rung.errors import UserError

if TYPE_CHECKING:
    from rung.models.vectors.table import Neighbour, WordTable

app = App(
    name="vectors",
    help="What stands near what? Neighbours, analogies, similarity and pictures of word vectors, and of the embeddings "
    "of any network.",
    help_format="plaintext",
    default_parameter=Parameter(negative="", consume_multiple=True, converter=read_value),
)


@app.command
def neighbours(
    source: Path,
    *words: str,
    n_best: int = 10,
    measure: str = "cosine",
    most: int | None = None,
    json: bool = False,
) -> int:
    """The words nearest to a word.

    Example: rung vectors neighbours runs/skipgram king queen

    Args:
        source: a run (skipgram, cbow, imported vectors, or a network, whose embedding is taken) or a file of vectors.
        words: one or several.
        n_best: how many to show.
        measure: cosine, or dot: of the vectors as they are.
        most: only the first so many words, which are the most frequent ones in most files.
        json: print one JSON object, nothing else.
    """
    table = _opened(source, most, words)
    if not words:
        raise UserError(f"name a word: rung vectors neighbours {source} king")
    found = {word: table.neighbours(word, n_best, measure) for word in words}
    if json:
        show_json(
            {"source": str(source), "measure": measure, "neighbours": {w: _json(f) for w, f in found.items()}}
        )
        return 0
    for word, near in found.items():
        print(f"{word}:")
        _show(near)
    return 0


@app.command
def analogy(
    source: Path,
    *words: str,
    questions: Path | None = None,
    n_best: int = 5,
    measure: str = "cosine",
    most: int | None = None,
    json: bool = False,
) -> int:
    """What is to C as B is to A? The words nearest to B - A + C, those three left out.

    Example: rung vectors analogy runs/skipgram man king woman

    Args:
        source: a run or a file of vectors, as in rung vectors neighbours.
        words: three: A B C.
        questions: ask a whole file instead, such as word2vec's questions-words.txt: four words a line, sections begin
            with a colon. An answer is right if it is the nearest of all words but the three. Questions with a word
            that has no vector are not asked; how many were is told.
        n_best: how many answers to show.
        measure: cosine, of vectors scaled to one length; or dot, of the vectors as they are.
        most: only the first so many words.
        json: print one JSON object, nothing else.
    """
    if (questions is None) == (not words):
        raise UserError(
            f"give three words, or a file of questions: rung vectors analogy {source} man king woman, or "
            f"rung vectors analogy {source} --questions questions-words.txt"
        )
    table = _opened(source, most, words)
    if questions is None:
        found = table.analogies(words, n_best, measure)
        if json:
            show_json(
                {"source": str(source), "measure": measure, "words": list(words), "answers": _json(found)}
            )
            return 0
        a, b, c = words
        print(f"{b} - {a} + {c} (these three left out):")
        _show(found)
        return 0
    from rung.inspection import word_questions

    sections = word_questions.analogies(table, questions, measure)
    every = word_questions.total(sections)
    if json:
        rows = [{**asdict(one), "accuracy": one.accuracy} for one in (every, *sections)]
        show_json({"source": str(source), "measure": measure, **rows[0], "sections": rows[1:]})
        return 0
    wide = max(len(one.name) for one in (*sections, every))
    print(f"{'section':<{wide}}  right   asked  questions")
    for one in (*sections, every):
        share = "-" if one.accuracy is None else f"{one.accuracy:.1%}"
        print(f"{one.name:<{wide}}  {share:>5}  {one.asked:>6,}  {one.questions:>9,}")
    print(
        f"coverage: {_share(every.asked, every.questions, 'questions')}; the three words of a question left out"
    )
    return 0


@app.command
def similarity(
    source: Path, pairs: Path, *, measure: str = "cosine", most: int | None = None, json: bool = False
) -> int:
    """How well does the measure go with what people say of pairs of words?

    Example: rung vectors similarity runs/skipgram wordsim353.tsv

    Args:
        source: a run or a file of vectors, as in rung vectors neighbours.
        pairs: a file: two words and a number a line, as in wordsim353 and SimLex-999.
        measure: cosine or dot.
        most: only the first so many words.
        json: print one JSON object, nothing else.
    """
    from rung.inspection import word_questions

    found = word_questions.similarity(_opened(source, most), pairs, measure)
    if json:
        show_json({"source": str(source), "measure": measure, **asdict(found)})
        return 0
    said = "none: too few pairs" if found.spearman is None else f"{found.spearman:.3f}"
    print(f"Spearman's rank correlation: {said}\ncoverage: {_share(found.asked, found.pairs, 'pairs')}")
    return 0


@app.command
def picture(
    source: Path,
    *words: str,
    method: str = "pca",
    out: Path | None = None,
    near: int = 0,
    measure: str = "cosine",
    perplexity: float = 30.0,
    most: int | None = None,
    force: bool = False,
    json: bool = False,
) -> int:
    """Draw words on a plane.

    Example: rung vectors picture runs/skipgram king queen man woman --near 8

    Args:
        source: a run or a file of vectors, as in rung vectors neighbours.
        words: which to draw; by default the first 200.
        method: pca, or t-sne: neighbours stay together, distances mean little.
        out: the file, .svg, .png or .pdf; by default runs/vectors-picture.svg.
        near: draw so many neighbours of each word, too.
        measure: cosine, of vectors scaled to one length; or dot, as they are.
        perplexity: of t-sne: about how many neighbours count.
        most: only the first so many words.
        force: overwrite the picture that is there.
        json: print where each word stands as one JSON object, nothing else.
    """
    from rung.inspection import vector_picture

    if near < 0:
        raise UserError(f"--near {near} is not possible: give 0 or more")
    table = _opened(source, most, words)
    path = Path("runs/vectors-picture.svg") if out is None else out
    if path.exists() and not force:
        raise UserError(f"{path} is there already; choose another --out, or give --force to overwrite it")
    named = [table.words[table.row(word)] for word in words]
    drawn = named if words else table.words[:200]
    if near:
        drawn = drawn + [one.word for word in named for one in table.neighbours(word, near, measure)]
    drawn = list(dict.fromkeys(drawn))
    places, told = vector_picture.placed(table, drawn, method, measure, perplexity)
    vector_picture.draw(
        path, drawn, places, f"{source}: {method}, {measure}. {told}", set(named) if near else set()
    )
    if json:
        where = dict(zip(drawn, np.round(places, 6).tolist(), strict=True))
        show_json(
            {"source": str(source), "method": method, "told": told, "picture": str(path), "places": where}
        )
        return 0
    print(f"{len(drawn)} words; {told}\npicture: {path}")
    return 0


def _opened(source: Path, most: int | None, words: Sequence[str] = ()) -> WordTable:
    from rung.embeddings import open_vectors

    require_utf8("a word", *words)
    return open_vectors(source).first(most)


def _json(found: list[Neighbour]) -> list[dict[str, object]]:
    return [{"word": one.word, "score": one.score} for one in found]


def _show(found: list[Neighbour]) -> None:
    for one in found:
        print(f"{one.score:>9.4f}  {one.word}")


def _share(part: int, whole: int, of: str) -> str:
    return f"{part:,} of {whole:,} {of} ({part / whole:.1%})"


flowing(neighbours, analogy, similarity, picture)
