"""Language modelling: P(text), token by token.

    bits per byte = total nats / (ln 2 x bytes)

over the whole split, every token and every document's closing mark counted. Bytes are those of the documents' text;
what stood between documents (the line ends of a list of names) is spelled by the mark and not counted.
"""

from __future__ import annotations

import math
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from rung.batches import Batch, Batches
from rung.errors import UserError
from rung.measure import NO_NUMBERS, Measure, perplexity
from rung.models.base import GradientLanguageModel, LanguageModel
from rung.process_group import SINGLE_PROCESS, ProcessGroup
from rung.tasks.base import Column, Measured, Pieces, Reader, Task
from rung.tasks.costs import Costs, common_costs
from rung.text.blocks import common_blocks
from rung.text.corpus import Corpus, open_corpus, prepare
from rung.text.facts import notes, same_source
from rung.text.options import DataOptions, ReadOptions
from rung.text.sources import open_source
from rung.text.stream import TokenStream
from rung.text.tokenizers import NotInVocabularyError, Tokenizer, utf8
from rung.text.whitespace import count_words
from rung.text.windows import PADDING, ContiguousBatches, WindowBatches

BATCH_CHARACTERS = 1 << 18

Columns = dict[str, np.ndarray]


class LanguageModeling(Task[Corpus]):
    """The next token, given what came before it in its document."""

    name = "language"
    example = "shakespeare"
    options_class = DataOptions
    ladder = ("bigram", "ngram", "infinigram", "neural-bigram", "gpt", "mix")
    target = "token"
    unit = "byte"
    columns = (
        Column("nats_per_token", "Nats per token", "nats/tok", ".3f"),
        Column("perplexity", "Perplexity per token", "", ",.2f"),
    )
    glossary = (
        (
            "Bits per byte",
            "How many bits the held-out text costs, for each byte of it, when the model's probabilities are used to "
            "compress it: the total surprise in nats, divided by ln 2 times the bytes of UTF-8. Uncompressed text "
            "costs 8; {best} needs {bits}. It compares models whatever their tokens are.",
        ),
        ("Nats per token", "The mean surprise of one token, −ln p. It depends on what a token is."),
        (
            "Perplexity",
            "e to the nats per token: the number of equally likely tokens that would surprise as much.",
        ),
    )
    resampled = (
        "documents are drawn again where there are many, stretches of about 2,000 bytes where there are few"
    )
    writes = True

    def prepare(
        self,
        data: str | Path,
        folder: Path,
        options: DataOptions,
        tokenizer: Tokenizer | None = None,
        *,
        like: str | None = None,
    ) -> Corpus:
        """`like`: as in `open_source`."""
        return prepare(
            data,
            folder,
            tokenizer=options.tokenizer if tokenizer is None else tokenizer,
            vocab_size=options.vocab_size,
            vocabulary=options.vocabulary,
            unknown=options.unknown,
            min_count=options.min_count,
            split=options.split,
            documents=options.documents,
            field=options.field,
            sha256=options.sha256,
            validation=options.val,
            test=options.test,
            like=like,
        )

    def open(self, folder: Path) -> Corpus:
        return open_corpus(folder)

    def examples(self, dataset: Corpus) -> TokenStream:
        return dataset.train

    def batches(
        self,
        model: GradientLanguageModel,
        dataset: Corpus,
        window: int | None,
        batch_size: int | None,
        seed: int,
        group: ProcessGroup = SINGLE_PROCESS,
    ) -> Batches:
        return token_batches(model, dataset.train, window, batch_size, seed, group)

    def n_classes(self, model: LanguageModel) -> int:
        return model.vocab_size

    def lowest_loss(self, model: LanguageModel, batch: Batch) -> float:
        inputs, targets, *_ = batch.arrays
        return lowest_loss(inputs, targets, model.context)

    def scores(self, model: LanguageModel, dataset: Corpus, split: str) -> np.ndarray:
        return model.score_stream(dataset.stream(split))

    def measure_of(self, scores: np.ndarray, dataset: Corpus, split: str) -> Measure:
        stream = dataset.stream(split)
        unknown = _unknown(dataset.tokenizer, stream.ids[1:], scores)
        return self._measure(-float(np.sum(scores, dtype=np.float64)), unknown, dataset, split)

    def measure(
        self,
        model: LanguageModel,
        dataset: Corpus,
        split: str,
        group: ProcessGroup = SINGLE_PROCESS,
        when_done: Callable[[], None] = lambda: None,
    ) -> Measure:
        if group.world_size == 1:
            return super().measure(model, dataset, split, group, when_done)
        stream = dataset.stream(split)
        part, skip = share(stream, group.rank, group.world_size, model.context)
        scores = model.score_stream(part)[skip:] if part.n_tokens else np.empty(0)
        cost, n = _unknown(dataset.tokenizer, part.ids[1 + skip :], scores)
        nats = -float(np.sum(scores, dtype=np.float64))
        when_done()
        unknown = group.sum(cost), round(group.sum(float(n)))
        return self._measure(group.sum(nats), unknown, dataset, split)

    def measure_on(self, readers: Sequence[Reader], data: str | Path, options: ReadOptions) -> list[Measured]:
        if options.label is not None:
            raise UserError(
                f"--label {options.label} does not fit: a language model has no labels to measure"
            )
        # A short list of lines is cut as the list was that the models were trained on. Where words alone are known,
        # documents are lines, empty ones too, as to what writes ARPA files.
        by_words = all(reader.tokenizer.unit == "word" for reader in readers)
        trained_on = {_documents_of(reader.facts) for reader in readers}
        source = open_source(
            data,
            documents=options.documents,
            field=options.field,
            sha256=options.sha256,
            like=trained_on.pop() if len(trained_on) == 1 else None,
            keep_empty=by_words,
        )
        costs = [Costs(reader.tokenizer) for reader in readers]
        documents, words = 0, 0
        for batch in _batched(source):
            if any(_has_words(reader.tokenizer) for reader in readers):
                words += sum(count_words(utf8(text)) for text in batch)
            for reader, cost in zip(readers, costs, strict=True):
                try:
                    stream, log_probs = _scored(reader.model, reader.tokenizer, batch)
                except NotInVocabularyError as error:
                    raise UserError(f"{data}, document {documents + error.text + 1}: {error}") from None
                columns = _columns(reader.tokenizer, batch, stream, log_probs)
                cost.add(columns["log_prob"], columns["bytes"], stream, log_probs)
            documents += len(batch)
        facts = source.describe()
        return [
            Measured(
                replace(
                    self._measure_costs(reader.tokenizer, cost, words, str(data)),
                    notes=(*notes({"source": facts}), *same_source(facts, reader.facts)),
                ),
                *pieces,
            )
            for reader, cost, pieces in zip(readers, costs, common_costs(costs), strict=True)
        ]

    def _measure_costs(self, tokenizer: Tokenizer, costs: Costs, words: int, split: str) -> Measure:
        counts = {"bytes": sum(costs.bytes), "documents": len(costs.nats)}
        counts |= {"words": words} if words and _has_words(tokenizer) else {}
        unknown = costs.unknown_nats, costs.unknown or 0
        return self._measure_by(tokenizer, math.fsum(costs.nats), costs.tokens, unknown, counts, split)

    def _measure(self, nats: float, unknown: tuple[float, int], dataset: Corpus, split: str) -> Measure:
        counts = dict(dataset.facts["parts"][split])
        tokens = counts.pop("tokens")
        return self._measure_by(dataset.tokenizer, nats, tokens, unknown, counts, split)

    def _measure_by(
        self,
        tokenizer: Tokenizer,
        nats: float,
        tokens: int,
        unknown: tuple[float, int],
        counts: dict[str, int],
        split: str,
    ) -> Measure:
        """Reckoned by bytes of text; where words alone are known, by words: every one of them, and every mark.

        Args:
            unknown: what the unknown words cost, nats, and how many there are.
            counts: `bytes`, `documents` and, where they were counted, `words`, those between white space.
        """
        figures = {"perplexity": perplexity(nats / tokens if tokens else 0.0)}
        if tokenizer.unit == "byte":
            return self.measure_from(nats, tokens, counts.pop("bytes"), split, figures, counts)
        counts.pop("words", None)
        if tokenizer.unknown is not None and tokens:
            figures["perplexity_of_known"] = perplexity((nats - unknown[0]) / max(tokens - unknown[1], 1))
            figures["unknown_rate"] = unknown[1] / max(tokens - counts["documents"], 1)
            counts = {"unknown": unknown[1], **counts}
        return replace(self.measure_from(nats, tokens, tokens, split, figures, counts), unit=tokenizer.unit)

    def size_of(self, counts: Mapping[str, int], of: str = "") -> str:
        return f"{counts['bytes']:,} bytes of {of}text"

    def measured_on(self, counts: Mapping[str, int]) -> str:
        documents = f"{counts['documents']:,} document{'' if counts['documents'] == 1 else 's'}"
        return (
            f"{counts['tokens']:,} tokens, {counts['bytes']:,} bytes, {documents}. Every token counts, and so does "
            "every mark that ends a document. A gpt reads a document "
            "longer than its context in windows that overlap by half; the other rungs see all that they can."
        )

    def pieces(self, dataset: Corpus, split: str) -> Pieces:
        return self.common_pieces([dataset], split)[0]

    def common_pieces(self, datasets: Sequence[Corpus], split: str) -> list[Pieces]:
        streams = [(dataset.tokenizer, dataset.stream(split)) for dataset in datasets]
        cut = common_blocks([(stream, _units(tokenizer, stream)) for tokenizer, stream in streams])
        return [Pieces(blocks.bytes, blocks.nats) for blocks in cut]


def _units(tokenizer: Tokenizer, stream: TokenStream) -> np.ndarray:
    """What each token of a stream of N + 1 ids counts for, in the unit that its tokeniser is measured by, (N,)."""
    if tokenizer.unit == "word":
        return np.ones(stream.n_tokens, np.int64)
    return tokenizer.byte_counts(stream.ids)


def _has_words(tokenizer: Tokenizer) -> bool:
    """Whether how many tokens a word has is worth telling."""
    return tokenizer.kind not in ("char", "byte")


def _unknown(tokenizer: Tokenizer, ids: np.ndarray, scores: np.ndarray) -> tuple[float, int]:
    """What the unknown words among tokens (N,) cost, nats, by the log-probabilities (N,); and how many there are."""
    if tokenizer.unknown is None:
        return 0.0, 0
    is_unknown = np.asarray(ids) == tokenizer.unknown
    return -float(np.sum(scores[is_unknown], dtype=np.float64)), int(is_unknown.sum())


def token_batches(
    model: GradientLanguageModel,
    stream: TokenStream,
    window: int | None,
    batch_size: int | None,
    seed: int,
    group: ProcessGroup = SINGLE_PROCESS,
) -> WindowBatches:
    """A stream as `LanguageModeling.batches` cuts it for a model; without a batch size, in what suits the model."""
    window = window if window is not None else model.window
    if model.max_window is not None and window > model.max_window:
        raise UserError(f"--window {window} is longer than this model's context, {model.max_window}")
    rows: int = model.training_defaults["batch_size"] if batch_size is None else batch_size
    kind = ContiguousBatches if model.recurrent else WindowBatches
    cut = kind(stream, window, rows, seed, model.history, group.shard(rows))
    _check_memory(cut.rows, min(window, int(np.diff(stream.starts).max())), model.vocab_size)
    return cut


@dataclass(frozen=True)
class Score:
    """One text as a document of its own.

    Attributes:
        log_prob: log P(text and its closing mark), nats.
        tokens: how many were predicted, the closing mark included.
        bytes: UTF-8 bytes of the text.
        bits_per_byte: -log_prob / (ln 2 x bytes); None for an empty text.
    """

    log_prob: float
    tokens: int
    bytes: int
    bits_per_byte: float | None


def score_texts(model: LanguageModel, tokenizer: Tokenizer, texts: Iterable[str]) -> Iterator[Score]:
    """Score each text as a document of its own, in order, a batch at a time."""
    for batch in _batched(texts):
        columns = score_batch(model, tokenizer, batch)
        for log_prob, tokens, n_bytes, bits in zip(
            *(column.tolist() for column in columns.values()), strict=True
        ):
            yield Score(log_prob, tokens, n_bytes, bits if n_bytes else None)


def score_batch(model: LanguageModel, tokenizer: Tokenizer, texts: Sequence[str]) -> Columns:
    """The fields of `Score` as columns (n,), each text a document of its own.

    An empty text is no document, as in `evaluate`: nothing is predicted, and bits per byte are NaN. (To a model of
    words from elsewhere it is one, as to the program it comes from.)
    """
    return _columns(tokenizer, texts, *_scored(model, tokenizer, texts))


def _documents_of(facts: Mapping[str, Any]) -> str | None:
    """What a document of plain text was to a model in training."""
    mode = "lines" if facts.get("imported") == "arpa" else facts["source"].get("documents")
    return mode if mode in ("lines", "paragraphs", "files") else None


def _scored(
    model: LanguageModel, tokenizer: Tokenizer, texts: Sequence[str]
) -> tuple[TokenStream, np.ndarray]:
    stream = tokenizer.encode_many(texts)
    return stream, model.score_stream(stream)


def _columns(
    tokenizer: Tokenizer, texts: Sequence[str], stream: TokenStream, log_probs: np.ndarray
) -> Columns:
    first = stream.starts[:-1] - 1
    log_prob = np.add.reduceat(log_probs.astype(np.float64), first)
    if np.isnan(log_prob).any():
        raise UserError(NO_NUMBERS)
    if tokenizer.lossless:
        n_bytes = np.add.reduceat(tokenizer.byte_counts(stream.ids), first)
    else:
        n_bytes = np.array([len(utf8(text)) for text in texts])
    n_tokens = np.diff(stream.starts)
    if tokenizer.unknown is None:
        log_prob[n_bytes == 0], n_tokens[n_bytes == 0] = 0.0, 0
    with np.errstate(divide="ignore", invalid="ignore"):
        bits = np.where(n_bytes > 0, -log_prob / (math.log(2) * n_bytes), np.nan)
    return {"log_prob": log_prob, "tokens": n_tokens, "bytes": n_bytes, "bits_per_byte": bits}


def share(stream: TokenStream, rank: int, size: int, context: int | None) -> tuple[TokenStream, int]:
    """What process `rank` of `size` scores of a stream, and how many scores at its beginning don't count.

    The stream is cut into equal lengths and each cut moved to where nothing changes by cutting: between two documents,
    or, where a model has a finite context C, between two windows of a long one. By the policy of
    `rung.models.networks.network` a document's windows begin S = C - C // 2 inputs apart and each but the first
    answers for its last S, so from a multiple of S on a document has the windows it would have had, save that the
    first of them answers for too much: its C scores are another's.
    """
    cuts = [_cut(stream, stream.n_tokens * r // size, context) for r in (rank, rank + 1)]
    (first, begin), (end, _) = cuts  # numbered like targets: 0 is ids[1]
    if first == end:
        return TokenStream(stream.ids[:1], np.array([1])), 0
    starts = np.asarray(stream.starts) - 1
    within = starts[(starts > begin) & (starts < end)]
    ids = np.concatenate([stream.ids[:1], stream.ids[begin + 1 : end + 1]])
    return TokenStream(ids, np.concatenate([[begin], within, [end]]) - begin + 1), first - begin


def _cut(stream: TokenStream, at: int, context: int | None) -> tuple[int, int]:
    """Where to cut near `at`, and from where on one has to read to go on from there."""
    if at == stream.n_tokens:
        return at, at
    document = int(np.searchsorted(stream.starts, at + 1, side="right")) - 1
    first, last = int(stream.starts[document]) - 1, int(stream.starts[document + 1]) - 1
    if context is None or last - first < 4 * context or at - first < context:
        nearest = first if at - first <= last - at else last
        return nearest, nearest
    stride = max(context - context // 2, 1)
    begin = first + (at - first - context) // stride * stride
    return begin + context, begin


def lowest_loss(inputs: np.ndarray, targets: np.ndarray, context: int | None) -> float:
    """The least mean loss, nats per token, of any model that sees the last `context` inputs in a row (None = all).

    Where the same inputs are followed by different targets nobody can be right each time: what is left is the entropy
    of the targets given what is seen. It is zero only where no two rows begin alike.
    """
    rows, length = targets.shape
    history = inputs.shape[1] - length
    seen: Counter[int] = Counter()
    pairs: Counter[tuple[int, int]] = Counter()
    for row in range(rows):
        for t in range(length):
            if targets[row, t] == PADDING:
                continue
            end = history + t + 1
            begin = max(0, end - context) if context is not None else 0
            key = hash(inputs[row, begin:end].tobytes())
            seen[key] += 1
            pairs[key, int(targets[row, t])] += 1
    return sum(-n * math.log(n / seen[key]) for (key, _), n in pairs.items()) / sum(seen.values())


def _check_memory(rows: int, columns: int, vocab_size: int) -> None:
    """Raise MemoryError when the ids and logits alone of one batch are more than the whole machine holds."""
    if sys.platform == "win32":  # which has no sysconf
        return
    if rows * columns * (16 + 4 * vocab_size) > os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"):
        raise MemoryError


def _batched(texts: Iterable[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    size = 0
    for text in texts:
        batch.append(text)
        size += len(text) + 1
        if size >= BATCH_CHARACTERS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
