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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from rung.batches import Batch, Batches
from rung.errors import UserError
from rung.measure import Measure, perplexity
from rung.models.base import CountedModel, GradientLanguageModel, LanguageModel
from rung.process_group import SINGLE_PROCESS, ProcessGroup
from rung.tasks.base import Column, Measured, Pieces, Reader, Task
from rung.tasks.costs import Costs, common_costs
from rung.tasks.process_share import share
from rung.tasks.text_scores import batched, columns_of, scored
from rung.text.blocks import common_blocks
from rung.text.corpus import Corpus, open_corpus, prepare
from rung.text.facts import notes, same_source
from rung.text.mixed_windows import MixedContiguousBatches, MixedWindowBatches
from rung.text.mixture import allotted, copies_of
from rung.text.options import DataOptions, ReadOptions
from rung.text.sources import open_source
from rung.text.stream import TokenStream
from rung.text.tokenizers import NotInVocabularyError, Tokenizer, utf8
from rung.text.whitespace import count_words
from rung.text.windows import PADDING, ContiguousBatches, WindowBatches


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
            split_by=options.split_by,
            documents=options.documents,
            field=options.field,
            sha256=options.sha256,
            validation=options.val,
            test=options.test,
            like=like,
        )

    def open(self, folder: Path) -> Corpus:
        return open_corpus(folder)

    def examples(self, dataset: Corpus, model_class: Any) -> TokenStream:
        """Of several texts with shares each as often as brings it near to its own."""
        borders, copies = dataset.borders("train"), self._copies(dataset, model_class)
        if borders is None or copies is None:
            return dataset.train
        rows = [np.tile(np.arange(*own), n) for own, n in zip(pairwise(borders), copies, strict=True)]
        return dataset.train.of_documents(np.concatenate(rows))

    def read_of_each(
        self, dataset: Corpus, tokens: int, model_class: Any, batch_size: int | None = None
    ) -> list[dict[str, Any]]:
        if not issubclass(model_class, GradientLanguageModel | CountedModel):
            return []
        sources = dataset.facts.get("sources", [])
        sizes = [one["parts"]["train"]["tokens"] for one in sources]
        shares = dataset.shares
        if shares is None or issubclass(model_class, CountedModel):
            copies = self._copies(dataset, model_class) or [1] * len(sizes)
            read = [n * size for n, size in zip(copies, sizes, strict=True)]
            shares = [part / sum(read) for part in read]
        elif model_class.recurrent and batch_size is not None:
            shares = [rows / batch_size for rows in allotted(shares, batch_size)]
        return [
            {"data": one["data"], "share": share, "tokens": size, "epochs": tokens * share / size}
            for one, share, size in zip(sources, shares, sizes, strict=True)
        ]

    def _copies(self, dataset: Corpus, model_class: Any) -> list[int] | None:
        """How often what counts counts each text; None = once."""
        shares = dataset.shares
        if shares is None or not issubclass(model_class, CountedModel) or not model_class.counts_copies:
            return None
        return copies_of(shares, [one["parts"]["train"]["tokens"] for one in dataset.facts["sources"]])

    def batches(
        self,
        model: GradientLanguageModel,
        dataset: Corpus,
        window: int | None,
        batch_size: int | None,
        seed: int,
        group: ProcessGroup = SINGLE_PROCESS,
    ) -> Batches:
        mixture = None if dataset.shares is None else (dataset.borders("train") or [], dataset.shares)
        return token_batches(model, dataset.train, window, batch_size, seed, group, mixture)

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
        whole = self._measure(-float(np.sum(scores, dtype=np.float64)), unknown, dataset, split)
        borders = dataset.borders(split)
        if borders is None:
            return whole
        return replace(whole, by_source=self._by_source(scores, dataset, split, borders))

    def _by_source(
        self, scores: np.ndarray, dataset: Corpus, split: str, borders: Sequence[int]
    ) -> tuple[Measure, ...]:
        """The measure of each of several texts."""
        stream, tokenizer, found = dataset.stream(split), dataset.tokenizer, []
        for one, (begin, end) in zip(dataset.facts["sources"], pairwise(borders), strict=True):
            first, last = int(stream.starts[begin]), int(stream.starts[end])
            ids, own = stream.ids[first - 1 : last], scores[first - 1 : last - 1]
            counts = {"bytes": int(tokenizer.byte_counts(ids).sum()), "documents": end - begin}
            nats = -float(np.sum(own, dtype=np.float64))
            unknown = _unknown(tokenizer, ids[1:], own)
            found.append(self._measure_by(tokenizer, nats, last - first, unknown, counts, one["data"]))
        return tuple(found)

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
        for batch in batched(source):
            if any(_has_words(reader.tokenizer) for reader in readers):
                words += sum(count_words(utf8(text)) for text in batch)
            for reader, cost in zip(readers, costs, strict=True):
                try:
                    stream, log_probs = scored(reader.model, reader.tokenizer, batch)
                except NotInVocabularyError as error:
                    raise UserError(f"{data}, document {documents + error.text + 1}: {error}") from None
                columns = columns_of(reader.tokenizer, batch, stream, log_probs)
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
    mixture: tuple[Sequence[int], Sequence[float]] | None = None,
) -> WindowBatches:
    """A stream as `LanguageModeling.batches` cuts it for a model; without a batch size, in what suits the model.

    `mixture`: where it is of several texts, their borders and shares, as `rung.text.mixed_windows` wants them.
    """
    window = window if window is not None else model.window
    if model.max_window is not None and window > model.max_window:
        raise UserError(f"--window {window} is longer than this model's context, {model.max_window}")
    rows: int = model.training_defaults["batch_size"] if batch_size is None else batch_size
    how = (stream, window, rows, seed, model.history, group.shard(rows))
    if mixture is None:
        cut = (ContiguousBatches if model.recurrent else WindowBatches)(*how)
    else:
        kind = MixedContiguousBatches if model.recurrent else MixedWindowBatches
        cut = kind(*how, borders=mixture[0], shares=mixture[1])
    _check_memory(cut.rows, min(window, int(np.diff(stream.starts).max())), model.vocab_size)
    return cut


def _documents_of(facts: Mapping[str, Any]) -> str | None:
    """What a document of plain text was to a model in training."""
    mode = "lines" if facts.get("imported") == "arpa" else facts["source"].get("documents")
    return mode if mode in ("lines", "paragraphs", "files") else None


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
