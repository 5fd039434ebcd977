"""Word vectors: which word stands here, and which are noise, given the words around it?

    bits per pair = total nats / (ln 2 x pairs)

A pair is a word of the held-out text and its context: the words near it, up to the model's window, one by one and
averaged (skipgram) or their mean (cbow). The cost is that of telling the word from five noise words, drawn as in
training and the same for every model of one vocabulary (`rung.models.vectors.base`). Vectors of zeros cost six bits.
What is no word of the vocabulary is passed over, as in training; so is a document with a single word.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from rung.errors import UserError
from rung.measure import Measure
from rung.models.vectors.base import MEASURED_AGAINST, WordVectors
from rung.tasks.base import Column, Measured, Pieces, Reader, Task
from rung.tasks.text_scores import batched
from rung.text.blocks import ENOUGH_BLOCKS, MANY_DOCUMENTS, MAX_BLOCKS
from rung.text.corpus import Corpus, open_corpus, prepare
from rung.text.facts import notes, same_source
from rung.text.options import DataOptions, ReadOptions
from rung.text.sources import open_source
from rung.text.stream import TokenStream
from rung.text.tokenizers import UTF8_BYTES, BareWordTokenizer, Tokenizer, WordTokenizer

PAIRS_A_PIECE = 256
MIN_COUNT = 5


@dataclass(frozen=True)
class VectorOptions(DataOptions):
    """Settings of reading and tokenising.

    Attributes:
        tokenizer: bare-word (words alone, lower-cased), or char, byte, word, bpe, wordpiece or unigram.
        min_count: with bare-word (or --unknown): words that occur less often have no vector; by default 5.
    """

    tokenizer: str = BareWordTokenizer.kind


class VectorLearning(Task[Corpus]):
    """What stands near what."""

    name = "vectors"
    example = "shakespeare"
    options_class = VectorOptions
    ladder = ("skipgram", "cbow")
    target = "pair"
    unit = "pair"
    columns = (Column("accuracy", "Told from noise", "told", ".4f"),)
    glossary = (
        (
            "Bits per pair",
            f"What it costs, on average, to tell a held-out word from {MEASURED_AGAINST} noise words by the words near "
            "it (the loss of negative sampling): vectors of zeros cost 6 bits, {best} costs {bits}. It is no "
            "probability of the text, and depends on the vocabulary: compare vectors of one.",
        ),
        (
            "Told from noise",
            "The share of words that scored above all the noise, given the mean of their neighbours.",
        ),
    )
    resampled = (
        f"documents are drawn again where there are many, {PAIRS_A_PIECE} pairs together where there are few"
    )

    def prepare(
        self, data: str | Path, folder: Path, options: DataOptions, tokenizer: Tokenizer | None = None
    ) -> Corpus:
        counted = options.unknown or options.tokenizer == BareWordTokenizer.kind
        corpus = prepare(
            data,
            folder,
            tokenizer=options.tokenizer if tokenizer is None else tokenizer,
            vocab_size=options.vocab_size,
            vocabulary=options.vocabulary,
            unknown=options.unknown,
            min_count=MIN_COUNT if counted and options.min_count is None else options.min_count,
            split=options.split,
            split_by=options.split_by,
            documents=options.documents,
            field=options.field,
            sha256=options.sha256,
            validation=options.val,
            test=options.test,
        )
        if corpus.shares is not None:
            raise UserError(
                f"{data} has shares, and vectors are learned from all texts alike: leave them out"
            )
        return corpus

    def open(self, folder: Path) -> Corpus:
        return open_corpus(folder)

    def examples(self, dataset: Corpus, model_class: Any) -> TokenStream:
        return words_alone(dataset.train, dataset.tokenizer)

    def epoch_targets(self, dataset: Corpus) -> float:
        """About as many as words; each has up to twice the window's."""
        return max(1, dataset.train.n_tokens - dataset.train.n_documents)

    def scores(self, model: WordVectors, dataset: Corpus, split: str) -> np.ndarray:
        """Of every word that has a neighbour (M, 2): log p, nats, and whether it scored above the noise, 1 or 0."""
        return _scores(model, words_alone(dataset.stream(split), dataset.tokenizer))

    def measure_of(self, scores: np.ndarray, dataset: Corpus, split: str) -> Measure:
        return self._measure(scores, dataset.stream(split).n_documents, split)

    def measure_on(self, readers: Sequence[Reader], data: str | Path, options: ReadOptions) -> list[Measured]:
        if options.label is not None:
            raise UserError(f"--label {options.label} does not fit: word vectors have no labels to measure")
        modes = {reader.facts["source"].get("documents") for reader in readers}
        mode = modes.pop() if len(modes) == 1 else None
        source = open_source(
            data,
            documents=options.documents,
            field=options.field,
            sha256=options.sha256,
            like=mode if mode in ("lines", "paragraphs", "files") else None,
        )
        found: list[list[np.ndarray]] = [[] for _ in readers]
        counts: list[list[np.ndarray]] = [[] for _ in readers]
        for texts in batched(source):
            for i, reader in enumerate(readers):
                words = words_alone(reader.tokenizer.encode_many(texts), reader.tokenizer)
                found[i].append(_scores(reader.model, words))
                counts[i].append(_counts(words))
        facts = source.describe()
        out = []
        for reader, each, many in zip(readers, found, counts, strict=True):
            scores, of_each = (
                np.concatenate([np.empty((0, 2)), *each]),
                np.concatenate([np.empty(0, int), *many]),
            )
            pieces = _pieces(of_each, by_documents=len({id(r.tokenizer) for r in readers}) > 1)
            told = (*notes({"source": facts}), *same_source(facts, reader.facts))
            measure = replace(self._measure(scores, len(of_each), str(data)), notes=told)
            out.append(Measured(measure, pieces.units, pieces.nats(scores)))
        return out

    def _measure(self, scores: np.ndarray, documents: int, split: str) -> Measure:
        nats = -float(scores[:, 0].sum(dtype=np.float64))
        figures = {"accuracy": float(scores[:, 1].mean()) if len(scores) else 0.0}
        return self.measure_from(nats, len(scores), len(scores), split, figures, {"documents": documents})

    def pieces(self, dataset: Corpus, split: str) -> Pieces:
        return _pieces(_counts(words_alone(dataset.stream(split), dataset.tokenizer)))

    def common_pieces(self, datasets: Sequence[Corpus], split: str) -> list[Pieces]:
        """Other words are other pairs: then documents are all that is common."""
        first = datasets[0].tokenizer
        alike = all(first.spells_like(dataset.tokenizer) for dataset in datasets)
        words = [words_alone(dataset.stream(split), dataset.tokenizer) for dataset in datasets]
        return [_pieces(_counts(each), by_documents=not alike) for each in words]

    def size_of(self, counts: Mapping[str, int], of: str = "") -> str:
        if "pairs" in counts:
            return f"{counts['pairs']:,} pairs{of and ' of ' + of + 'text'}"
        return f"{counts['bytes']:,} bytes of {of}text"

    def measured_on(self, counts: Mapping[str, int]) -> str:
        return (
            f"{counts['bytes']:,} bytes in {counts['documents']:,} documents; every word of the vocabulary that has "
            f"a neighbour in it, held against {MEASURED_AGAINST} noise words, the same for every model."
        )


def words_alone(stream: TokenStream, tokenizer: Tokenizer) -> TokenStream:
    """The documents without what is no word: unknown ones, names of marks, and bytes that spell rare words out."""
    is_word = np.ones(tokenizer.vocab_size, bool)
    if isinstance(tokenizer, WordTokenizer):
        is_word[: len(UTF8_BYTES)] = False
    is_word[[*tokenizer.special, *([] if tokenizer.unknown is None else [tokenizer.unknown])]] = False
    kept = is_word[stream.ids]
    before = np.concatenate([[0], np.cumsum(kept)])
    return TokenStream(np.asarray(stream.ids[kept]), before[stream.starts])


def _scores(model: WordVectors, words: TokenStream) -> np.ndarray:
    costs = model.word_costs(words)
    return np.stack([-costs[:, 0], costs[:, 1]], axis=1)


def _counts(words: TokenStream) -> np.ndarray:
    """How many words with a neighbour each document has (D,)."""
    lengths = np.diff(words.starts) - 1
    return np.where(lengths > 1, lengths, 0)


def _pieces(counts: np.ndarray, *, by_documents: bool = False) -> Pieces:
    """Pieces of documents with so many pairs."""
    total = int(counts.sum())
    if by_documents or len(counts) >= MANY_DOCUMENTS:
        step = -(-len(counts) // MAX_BLOCKS)
        borders = np.concatenate([[0], np.cumsum(counts)])[[*range(0, len(counts), step), len(counts)]]
    else:
        n = min(max(total // PAIRS_A_PIECE, min(ENOUGH_BLOCKS, total), 1), MAX_BLOCKS)
        borders = np.arange(n + 1) * total // n
    borders = np.unique(borders)
    return Pieces(np.diff(borders), lambda scores: _sums(scores, borders))


def _sums(scores: np.ndarray, borders: Iterable[int]) -> np.ndarray:
    return -np.diff(np.concatenate([[0.0], np.cumsum(scores[:, 0], dtype=np.float64)])[list(borders)])
